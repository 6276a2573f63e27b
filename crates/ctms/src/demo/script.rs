//! The demo's acts, in order: prepare, start, suspend, resume. Each act calls the services as a client would.

use std::time::Duration;

use anyhow::Context as _;
use contracts::{epro::v1 as epro, project::v1 as project};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clients::{Clients, request_by};

use super::{
    reactions::{self, Call, Change},
    report::{Outcome, Reaction, Report, Step, millis},
    study,
};

/// Plays all acts and returns what happened. A failure is in the outcome, with the acts that succeeded before it.
pub(crate) async fn play(clients: &Clients, patience: Duration, report: &mut Report) -> Outcome {
    let mut play =
        Play { clients, patience, report, project: project::Project::default(), reactions: vec![], steps: vec![] };
    let result = play.acts().await;
    play.report.waited();
    Outcome {
        ok: result.is_ok(),
        project_id: play.project.project_id,
        reactions: play.reactions,
        steps: play.steps,
        error: result.err().map(|error| service_kit::sentence(&error)),
    }
}

struct Play<'a> {
    clients: &'a Clients,
    patience: Duration,
    report: &'a mut Report,
    project: project::Project,
    reactions: Vec<Reaction>,
    steps: Vec<Step>,
}

impl Play<'_> {
    async fn acts(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.prepare().await?;
        self.steps.push(Step { step: "prepare", ok: true, duration_ms: millis(began.elapsed()), effects: vec![] });
        for change in [Change::Started, Change::Suspended, Change::Resumed] {
            self.change(change).await?;
        }
        self.nothing_doubled().await
    }

    /// Creates the study with everything that the reactions need, and completes its start-up checklist.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        self.report.heading("Prepare a study");
        let mut projects = self.clients.project.clone();
        let created = projects
            .create_project(request(study::create_project(request_id())))
            .await
            .context("CreateProject failed")?
            .into_inner();
        self.project = created.project.unwrap_or_default();
        let id = self.project.project_id.clone();
        self.report.done("project", &format!("created {id}, {} planned sites", self.project.sites.len()));
        self.epro(&id).await?;
        self.clients
            .finance
            .clone()
            .set_fee_schedule(request(study::fees(&id, request_id())))
            .await
            .context("SetFeeSchedule failed")?;
        self.report.done("finance", "set the fee schedule: a start-up fee per activated site, in EUR");
        self.clients.put_dataset(&id, study::DATASET, study::DATASET_CSV).await?;
        let plan = study::monitoring_plan(&id, request_id());
        let checks = plan.checks.len();
        self.clients.monitor.clone().set_monitoring_plan(request(plan)).await.context("SetMonitoringPlan failed")?;
        self.report.done("monitor", &format!("stored the dataset {:?} and a plan of {checks} checks", study::DATASET));
        self.checklist(&id).await
    }

    async fn epro(&self, id: &str) -> anyhow::Result<()> {
        let mut client = self.clients.epro.clone();
        let schedule = study::schedule(id);
        let (instruments, visits) = (schedule.instruments.len(), schedule.visits.len());
        let publish = epro::PublishScheduleRequest { schedule: Some(schedule), request_id: request_id() };
        client.publish_schedule(request(publish)).await.context("PublishSchedule failed")?;
        self.report.done("epro", &format!("published a schedule: {instruments} questionnaires over {visits} visits"));
        let today = time::OffsetDateTime::now_utc().date().to_string();
        for (subject, site) in study::SUBJECTS {
            let enrol = epro::EnrolSubjectRequest {
                study_id: id.to_owned(),
                subject_id: subject.to_owned(),
                site_id: site.to_owned(),
                enrolled_on: today.clone(),
                request_id: request_id(),
            };
            client.enrol_subject(request(enrol)).await.with_context(|| format!("EnrolSubject {subject} failed"))?;
        }
        self.report.done("epro", &format!("enrolled {} subjects", study::SUBJECTS.len()));
        Ok(())
    }

    async fn checklist(&self, id: &str) -> anyhow::Result<()> {
        let mut projects = self.clients.project.clone();
        for kind in study::CHECKLIST {
            let complete = project::CompleteStartupItemRequest {
                project_id: id.to_owned(),
                kind: kind.into(),
                reference: "demo".to_owned(),
                request_id: request_id(),
                etag: String::new(),
            };
            projects
                .complete_startup_item(request(complete))
                .await
                .with_context(|| format!("CompleteStartupItem {} failed", kind.as_str_name()))?;
        }
        for site in study::ACTIVATED_SITES {
            let activate = project::ActivateSiteRequest {
                project_id: id.to_owned(),
                site_id: site.to_owned(),
                request_id: request_id(),
                ..Default::default()
            };
            projects.activate_site(request(activate)).await.with_context(|| format!("ActivateSite {site} failed"))?;
        }
        let (items, sites) = (study::CHECKLIST.len(), study::ACTIVATED_SITES.len());
        self.report
            .done("project", &format!("completed {items} start-up items and activated {sites} sites: ready to start"));
        Ok(())
    }

    /// Makes one lifecycle call and awaits what the services make of it.
    async fn change(&mut self, change: Change) -> anyhow::Result<()> {
        let called_at = Instant::now();
        self.project = self.call(change).await?;
        let answered_at = Instant::now();
        let (step, rpc) = names(change);
        let event_id = self.project.last_event_id.clone();
        self.report.heading(&format!("{rpc} → OK after {:.1} ms, event {event_id}", millis(answered_at - called_at)));
        let call = Call { change, study_id: self.project.project_id.clone(), event_id, answered_at };
        let effects = reactions::await_all(self.clients, &call, self.patience, self.report).await?;
        if change == Change::Started {
            let first_of = |service: &str| effects.iter().find(|reaction| reaction.service == service).cloned();
            self.reactions = ["epro", "finance", "monitor"].into_iter().filter_map(first_of).collect();
        }
        self.steps.push(Step { step, ok: true, duration_ms: millis(called_at.elapsed()), effects });
        Ok(())
    }

    async fn call(&self, change: Change) -> anyhow::Result<project::Project> {
        let mut projects = self.clients.project.clone();
        let project_id = self.project.project_id.clone();
        let (request_id, reason) = (request_id(), "shown by the demo".to_owned());
        let etag = String::new();
        let changed = match change {
            Change::Started => {
                let start = project::StartProjectRequest { project_id, request_id, etag };
                projects.start_project(request(start)).await.context("StartProject failed")?.into_inner().project
            }
            Change::Suspended => {
                let suspend = project::SuspendProjectRequest { project_id, reason, request_id, etag };
                projects.suspend_project(request(suspend)).await.context("SuspendProject failed")?.into_inner().project
            }
            Change::Resumed => {
                let resume = project::ResumeProjectRequest { project_id, reason, request_id, etag };
                projects.resume_project(request(resume)).await.context("ResumeProject failed")?.into_inner().project
            }
        };
        changed.context("the answer carries no project")
    }

    /// After suspend and resume there are as many assignments, pushes and payables as before.
    async fn nothing_doubled(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let study_id = self.project.project_id.clone();
        let ask = epro::ListNotificationsRequest { study_id: study_id.clone(), page_size: 1000, ..Default::default() };
        let pushes = self.clients.epro.clone().list_notifications(ask).await?.into_inner().notifications;
        let mut keys: Vec<_> = pushes.iter().map(|push| &push.idempotency_key).collect();
        keys.sort_unstable();
        keys.dedup();
        anyhow::ensure!(
            keys.len() == pushes.len(),
            "{} of {} pushes are doubled",
            pushes.len() - keys.len(),
            pushes.len()
        );
        let ask = contracts::finance::v1::ListPayablesRequest { study_id, ..Default::default() };
        let payables = self.clients.finance.clone().list_payables(ask).await?.into_inner().payables;
        anyhow::ensure!(
            payables.len() == study::ACTIVATED_SITES.len(),
            "{} payables for {} activated sites",
            payables.len(),
            study::ACTIVATED_SITES.len()
        );
        self.report.heading("Nothing doubled");
        self.report.done("epro", &format!("{} pushes, each with a key of its own", pushes.len()));
        self.report.done("finance", &format!("{} payables, one per activated site", payables.len()));
        self.steps.push(Step {
            step: "nothing_doubled",
            ok: true,
            duration_ms: millis(began.elapsed()),
            effects: vec![],
        });
        Ok(())
    }
}

fn names(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Started => ("start", "StartProject"),
        Change::Suspended => ("suspend", "SuspendProject"),
        Change::Resumed => ("resume", "ResumeProject"),
    }
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A request in the demo's name.
fn request<T>(message: T) -> tonic::Request<T> {
    request_by(study::ACTOR, message)
}
