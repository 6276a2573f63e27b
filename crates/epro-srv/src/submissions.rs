//! Responses in groups: the intake's handler stores up to a batch of submissions in one transaction and answers each after its COMMIT.
//! What may be stored is decided in `domain::submission`.
//!
//! Locks in one order everywhere (campaigns, then assignments by id), so that a start, a suspension and other groups wait, never deadlock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use contracts::ids::{ProjectId, SubmissionId};
use outbox::db::{self, Database, DbErr, Tx};
use time::OffsetDateTime;
use uuid::Uuid;
use worker_pool::{HandlerError, IntakeHandler};

use crate::domain::campaign::State;
use crate::domain::schedule::Schedule;
use crate::domain::submission::{self, Assignment, AssignmentState, Refusal, Submission};
use crate::store::assignment as assignments;
use crate::store::response::{self, NewResponse, Receipt, SubmissionKey};
use crate::store::{campaign, notification, schedule};

/// Published schedules kept in memory; they never change.
const SCHEDULES_KEPT: usize = 256;

/// One submission on its way to the database.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The study.
    pub(crate) study: ProjectId,
    /// The client's id.
    pub(crate) submission_id: SubmissionId,
    /// The assignment that is answered.
    pub(crate) assignment_id: Uuid,
    /// Who answers what.
    pub(crate) submission: Submission,
    /// Hash of the request.
    pub(crate) body_hash: Vec<u8>,
}

impl Job {
    fn key(&self) -> SubmissionKey {
        (self.study.to_string(), self.submission_id.to_string())
    }
}

/// Why a submission was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// The study has no such assignment.
    UnknownAssignment,
    /// The submission id came before with another body.
    OtherBody,
    /// The rules stand against it.
    Refused(Refusal),
}

/// How a submission ended: stored now, or stored before with the same body, or refused.
pub(crate) type Outcome = Result<Receipt, NotStored>;

type Schedules = HashMap<(ProjectId, i64), Arc<Schedule>>;

/// The intake's handler.
#[derive(Debug, Clone)]
pub(crate) struct CommitResponses {
    db: Database,
    schedules: Arc<Mutex<Schedules>>,
}

impl CommitResponses {
    /// Stores into `db`.
    #[must_use]
    pub(crate) fn new(db: Database) -> Self {
        Self { db, schedules: Arc::default() }
    }
}

impl IntakeHandler<Job, Outcome> for CommitResponses {
    async fn handle(&self, jobs: &[Job]) -> Result<Vec<Outcome>, HandlerError> {
        let (this, jobs) = (self.clone(), jobs.to_vec());
        let stored: Result<_, DbErr> =
            self.db.transaction(move |tx| Box::pin(async move { Group { this: &this, tx }.store(&jobs).await })).await;
        stored.map_err(|error| {
            if db::is_environment(&error) { HandlerError::unavailable(error) } else { HandlerError::retry(error) }
        })
    }
}

/// One transaction.
struct Group<'t> {
    this: &'t CommitResponses,
    tx: &'t Tx,
}

impl Group<'_> {
    async fn store(&self, jobs: &[Job]) -> Result<Vec<Outcome>, DbErr> {
        let states = campaign::hold_still(self.tx, &jobs.iter().map(|job| job.study.clone()).collect()).await?;
        let ids: BTreeSet<Uuid> = jobs.iter().map(|job| job.assignment_id).collect();
        let mut known = assignments::lock(self.tx, &ids).await?;
        let mut receipts = response::receipts(self.tx, &jobs.iter().map(Job::key).collect()).await?;
        let schedules = self.schedules(known.values()).await?;

        let now = db::now();
        let (mut outcomes, mut new) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            let outcome = match receipts.get(&job.key()) {
                Some(receipt) => repeated(job, receipt),
                None => self.decide(job, &states, &known, &schedules, now).map(|row| {
                    let receipt = Receipt { id: row.id, body_hash: row.body_hash.clone(), accepted_at: now };
                    receipts.insert(job.key(), receipt.clone());
                    if let Some(assignment) = known.get_mut(&job.assignment_id) {
                        assignment.state = AssignmentState::Completed;
                    }
                    new.push(row);
                    receipt
                }),
            };
            outcomes.push(outcome);
        }
        if !new.is_empty() {
            self.write(jobs, &new, &mut outcomes, now).await?;
        }
        Ok(outcomes)
    }

    fn decide(
        &self,
        job: &Job,
        states: &HashMap<ProjectId, State>,
        known: &HashMap<Uuid, assignments::Assignment>,
        schedules: &Schedules,
        now: OffsetDateTime,
    ) -> Result<NewResponse, NotStored> {
        let found = known.get(&job.assignment_id).filter(|assignment| assignment.study == job.study);
        let (Some(assignment), Some(state)) = (found, states.get(&job.study)) else {
            return Err(NotStored::UnknownAssignment);
        };
        let instrument = schedules
            .get(&(job.study.clone(), assignment.schedule_version))
            .and_then(|schedule| schedule.instrument(&assignment.instrument_id))
            .ok_or(NotStored::UnknownAssignment)?;
        let asked = Assignment {
            subject_id: assignment.subject_id.clone(),
            instrument_id: assignment.instrument_id.clone(),
            state: assignment.state,
            window: assignment.window,
        };
        submission::decide(&job.submission, *state, &asked, instrument, now.date()).map_err(NotStored::Refused)?;
        Ok(NewResponse {
            id: Uuid::now_v7(),
            key: job.key(),
            assignment_id: job.assignment_id,
            subject_id: job.submission.subject_id.clone(),
            instrument_id: job.submission.instrument_id.clone(),
            schedule_version: assignment.schedule_version,
            answers: job.submission.answers.clone(),
            body_hash: job.body_hash.clone(),
        })
    }

    async fn write(
        &self,
        jobs: &[Job],
        new: &[NewResponse],
        outcomes: &mut [Outcome],
        now: OffsetDateTime,
    ) -> Result<(), DbErr> {
        let written = response::insert(self.tx, new, now).await?;
        let answered: Vec<Uuid> =
            new.iter().filter(|row| written.contains(&row.id)).map(|row| row.assignment_id).collect();
        if !answered.is_empty() {
            assignments::complete(self.tx, &answered, now).await?;
            notification::cancel_of(self.tx, &answered).await?;
        }
        let lost: HashSet<SubmissionKey> =
            new.iter().filter(|row| !written.contains(&row.id)).map(|row| row.key.clone()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        // Another instance took these ids for other assignments between our look and our write; it has committed by now.
        let receipts = response::receipts(self.tx, &lost).await?;
        for (job, outcome) in jobs.iter().zip(outcomes) {
            if let Some(receipt) = receipts.get(&job.key()) {
                *outcome = repeated(job, receipt);
            }
        }
        Ok(())
    }

    async fn schedules(&self, known: impl Iterator<Item = &assignments::Assignment>) -> Result<Schedules, DbErr> {
        let mut needed = Schedules::new();
        for assignment in known {
            let key = (assignment.study.clone(), assignment.schedule_version);
            if needed.contains_key(&key) {
                continue;
            }
            let kept = self.this.schedules.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let schedule = match kept {
                Some(schedule) => schedule,
                None => Arc::new(schedule::read(self.tx, &key.0, key.1).await?),
            };
            needed.insert(key, schedule);
        }
        let mut kept = self.this.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + needed.len() > SCHEDULES_KEPT {
            kept.clear();
        }
        kept.extend(needed.iter().map(|(key, schedule)| (key.clone(), Arc::clone(schedule))));
        Ok(needed)
    }
}

fn repeated(job: &Job, receipt: &Receipt) -> Outcome {
    if receipt.body_hash == job.body_hash { Ok(receipt.clone()) } else { Err(NotStored::OtherBody) }
}
