//! Generates the assignments that a running study still lacks, with their pushes: at the start, at a resume, at an enrolment, and when a
//! schedule is published. Brings rules and SQL together; must not know who asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contracts::ids::ProjectId;
use outbox::db::{self, DbErr, Tx};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::campaign::State;
use crate::domain::plan::{self, PlannedAssignment, PlannedPush, Subject};
use crate::domain::push::{self, Channel};
use crate::domain::schedule::Schedule;
use crate::domain::submission::AssignmentState;
use crate::store::assignment::{self, Cause, NewAssignment};
use crate::store::campaign::{self, Campaign};
use crate::store::notification::{self, NewNotification};
use crate::store::{schedule, subject};

/// Assignments planned in one transaction: it stays far below its time limit however large the study is. What is left follows in portions.
const PORTION: usize = 5_000;

/// Assignments planned at once in memory.
const AT_ONCE: usize = 1_000;

/// Namespace of the ids made here. An id follows from what it stands for, so that the same cause can never make two.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0e_52c1_4b7f_4f0a_9c3e_8a41_d5b2_7e16);

/// Generates what the enrolled subjects lack: a portion now, of a large study the rest later, through [`go_on`]. Returns the number of
/// assignments; 0 before the start and without a schedule. The campaign must be locked.
///
/// # Errors
/// The database's.
pub(crate) async fn for_all(tx: &Tx, campaign: &Campaign, channel: Channel, now: OffsetDateTime) -> Result<i64, DbErr> {
    portion(tx, campaign, "", channel, now).await
}

/// Generates the next portion of a study that has more to generate.
///
/// # Errors
/// The database's.
pub(crate) async fn go_on(tx: &Tx, study: &ProjectId, channel: Channel) -> Result<i64, DbErr> {
    let now = db::now();
    let campaign = campaign::lock(tx, study, now).await?;
    match (&campaign.generate_after, campaign.state) {
        (None, _) => Ok(0),
        (Some(_), State::Closed) => {
            campaign::generate_after(tx, study, None).await?;
            Ok(0)
        }
        (Some(after), _) => portion(tx, &campaign, after, channel, now).await,
    }
}

async fn portion(
    tx: &Tx,
    campaign: &Campaign,
    after: &str,
    channel: Channel,
    now: OffsetDateTime,
) -> Result<i64, DbErr> {
    let Some(generation) = Generation::of(tx, campaign, channel, now).await? else {
        campaign::generate_after(tx, &campaign.study, None).await?;
        return Ok(0);
    };
    let per_subject = generation.schedule.assignments_per_subject().max(1);
    let generation = BTreeMap::from([(&campaign.study, generation)]);
    let subjects_at_once = i64::try_from((AT_ONCE / per_subject).max(1)).unwrap_or(1);
    let (mut created, mut planned, mut after) = (0, 0, after.to_owned());
    let rest = loop {
        let subjects = subject::page_after(tx, &campaign.study, &after, subjects_at_once).await?;
        let Some(last) = subjects.last() else { break None };
        if planned >= PORTION {
            break Some(after.as_str());
        }
        planned += subjects.len() * per_subject;
        let through = last.id.clone();
        let subjects: Vec<_> = subjects.into_iter().map(|subject| (campaign.study.clone(), subject)).collect();
        created += fill(tx, &generation, &subjects).await?;
        after = through;
    };
    if rest.is_some() || campaign.generate_after.is_some() {
        campaign::generate_after(tx, &campaign.study, rest).await?;
    }
    Ok(created)
}

/// As [`for_all`], for several studies that have just started: small ones together, in the statements that one takes.
///
/// # Errors
/// The database's.
pub(crate) async fn of_starts(
    tx: &Tx,
    campaigns: &[Campaign],
    channel: Channel,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    if campaigns.is_empty() {
        return Ok(());
    }
    let mut schedules = schedule::read_all(tx, &campaigns.iter().filter_map(schedule_of).collect::<Vec<_>>()).await?;
    let with_schedule = |campaign| Generation::with(campaign, &mut schedules, channel, now);
    let generations: BTreeMap<&ProjectId, Generation<'_>> =
        campaigns.iter().filter_map(with_schedule).map(|generation| (&generation.campaign.study, generation)).collect();
    let studies: BTreeSet<&ProjectId> = generations.keys().copied().collect();
    if studies.is_empty() {
        return Ok(());
    }
    // One more than a study's worth at once tells that they are not small.
    let subjects = subject::first_of(tx, &studies, AT_ONCE + 1).await?;
    let of_each = |(study, _): &(ProjectId, Subject)| generations[study].schedule.assignments_per_subject();
    if subjects.len() <= AT_ONCE && subjects.iter().map(of_each).sum::<usize>() <= PORTION {
        fill(tx, &generations, &subjects).await?;
        return Ok(());
    }
    let mut created = 0;
    for generation in generations.values() {
        if created < i64::try_from(PORTION).unwrap_or(i64::MAX) {
            created += for_all(tx, generation.campaign, channel, now).await?;
        } else {
            // From the beginning, in portions of their own.
            campaign::generate_after(tx, &generation.campaign.study, Some("")).await?;
        }
    }
    Ok(())
}

/// As [`for_all`], for one subject.
///
/// # Errors
/// The database's.
pub(crate) async fn for_one(
    tx: &Tx,
    campaign: &Campaign,
    subject: Subject,
    channel: Channel,
    now: OffsetDateTime,
) -> Result<i64, DbErr> {
    match Generation::of(tx, campaign, channel, now).await? {
        Some(generation) => {
            fill(tx, &[(&campaign.study, generation)].into(), &[(campaign.study.clone(), subject)]).await
        }
        None => Ok(0),
    }
}

/// The schedule that a started campaign uses.
fn schedule_of(campaign: &Campaign) -> Option<(&ProjectId, i64)> {
    (campaign.start.is_some() && campaign.schedule_version != 0).then_some((&campaign.study, campaign.schedule_version))
}

/// Writes what these subjects, each of one of the studies, lack. Returns the number of assignments.
async fn fill(
    tx: &Tx,
    generations: &BTreeMap<&ProjectId, Generation<'_>>,
    subjects: &[(ProjectId, Subject)],
) -> Result<i64, DbErr> {
    let asked = assignment::asked(tx, subjects).await?;
    let (mut assignments, mut notifications) = (Vec::new(), Vec::new());
    for (study, subject) in subjects {
        let generation = &generations[study];
        let day = generation.started_at.date();
        for planned in plan::for_subject(&generation.schedule, subject, day, generation.cause.at) {
            let key =
                (study.clone(), planned.subject_id.clone(), planned.visit_id.clone(), planned.instrument_id.clone());
            if asked.contains(&key) {
                continue;
            }
            let new = generation.assignment(&planned);
            let pushes = planned.pushes.iter().map(|push| (&generation.cause, generation.notification(&new, *push)));
            notifications.extend(pushes);
            assignments.push((&generation.cause, new));
        }
    }
    assignment::insert(tx, &assignments).await?;
    notification::insert(tx, &notifications).await?;
    Ok(i64::try_from(assignments.len()).unwrap_or(i64::MAX))
}

struct Generation<'a> {
    campaign: &'a Campaign,
    started_at: OffsetDateTime,
    schedule: Schedule,
    cause: Cause,
    channel: Channel,
}

impl<'a> Generation<'a> {
    async fn of(tx: &Tx, campaign: &'a Campaign, channel: Channel, now: OffsetDateTime) -> Result<Option<Self>, DbErr> {
        let Some((study, version)) = schedule_of(campaign) else { return Ok(None) };
        let schedule = schedule::read(tx, study, version).await?;
        Ok(Self::with(campaign, &mut [((study.clone(), version), schedule)].into(), channel, now))
    }

    fn with(
        campaign: &'a Campaign,
        schedules: &mut HashMap<(ProjectId, i64), Schedule>,
        channel: Channel,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let (start, (study, version)) = (campaign.start.as_ref()?, schedule_of(campaign)?);
        let schedule = schedules.remove(&(study.clone(), version))?;
        let cause =
            Cause { study: study.clone(), schedule_version: version, event_id: start.event_id.clone(), at: now };
        Some(Self { campaign, started_at: start.at, schedule, cause, channel })
    }

    fn assignment(&self, planned: &PlannedAssignment) -> NewAssignment {
        // Ids hold no slash, so no two of these names are equal.
        let name = format!(
            "{}/{}/{}/{}/{}",
            self.cause.study, self.cause.schedule_version, planned.subject_id, planned.visit_id, planned.instrument_id
        );
        NewAssignment {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            subject_id: planned.subject_id.clone(),
            site_id: planned.site_id.clone(),
            visit_id: planned.visit_id.clone(),
            instrument_id: planned.instrument_id.clone(),
            state: if planned.is_missed { AssignmentState::Missed } else { AssignmentState::Open },
            window: planned.window,
        }
    }

    fn notification(&self, assignment: &NewAssignment, push: PlannedPush) -> NewNotification {
        let name = format!("{}/{}/{}", assignment.id, push.kind.as_str(), push.due_at.unix_timestamp());
        NewNotification {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            assignment_id: assignment.id,
            subject_id: assignment.subject_id.clone(),
            kind: push.kind,
            channel: self.channel,
            state: push::initial_state(self.campaign.state, self.channel, push.due_at, self.cause.at),
            due_at: push.due_at,
        }
    }
}
