//! Setting a whole study up through the public APIs, so that a start has an effect in every service.

use anyhow::{Context as _, Result};
use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor, project::v1 as project};
use tonic::Status;

use super::Cluster;

/// How large a study is.
#[derive(Debug, Clone, Copy)]
pub struct StudyShape {
    /// Activated sites: one payable each.
    pub sites: usize,
    /// Enrolled subjects: one assignment each.
    pub subjects: usize,
}

impl Default for StudyShape {
    fn default() -> Self {
        Self { sites: 2, subjects: 3 }
    }
}

/// A study that is set up in all services.
#[derive(Debug, Clone)]
pub struct Study {
    /// The id of its project.
    pub id: String,
    /// How large it is.
    pub shape: StudyShape,
    /// Events written so far: the sequence of the last one.
    pub last_sequence: i64,
}

const CHECKLIST: [project::StartupItemKind; 5] = [
    project::StartupItemKind::EthicsApproval,
    project::StartupItemKind::RegulatoryApproval,
    project::StartupItemKind::ContractAndBudget,
    project::StartupItemKind::ProtocolVersion,
    project::StartupItemKind::DataCaptureLive,
];

/// The only instrument of a test study.
pub const INSTRUMENT: &str = "diary";

impl Cluster {
    /// A project ready to start, with its schedule, subjects, fees and monitoring plan.
    ///
    /// # Errors
    /// Whatever a service answers.
    pub async fn prepare_study(&self, shape: StudyShape) -> Result<Study> {
        let mut study = self.prepare_project(shape).await?;
        self.plan_reactions(&study).await?;
        self.enrol(&study, 1, shape.subjects).await?;
        study.shape = shape;
        Ok(study)
    }

    /// Only the project: its sites activated and its checklist complete.
    ///
    /// # Errors
    /// Whatever the project service answers.
    pub async fn prepare_project(&self, shape: StudyShape) -> Result<Study> {
        let id = format!("study-{}", uuid::Uuid::new_v4().simple());
        let mut client = self.project()?;
        let sites: Vec<_> = (1..=shape.sites).map(|number| format!("site-{number}")).collect();
        let planned = sites.iter().map(|site_id| project::PlannedSite {
            site_id: site_id.clone(),
            name: format!("Hospital {site_id}"),
            country_code: "DE".to_owned(),
        });
        let request = project::CreateProjectRequest {
            project_id: id.clone(),
            name: "A test study".to_owned(),
            protocol_number: "TEST-001".to_owned(),
            sites: planned.collect(),
            request_id: request_id(),
            ..Default::default()
        };
        client.create_project(request).await.context("CreateProject")?;
        for kind in CHECKLIST {
            let request = project::CompleteStartupItemRequest {
                project_id: id.clone(),
                kind: kind.into(),
                reference: "test".to_owned(),
                request_id: request_id(),
                ..Default::default()
            };
            client.complete_startup_item(request).await.with_context(|| format!("CompleteStartupItem {kind:?}"))?;
        }
        let mut last_sequence = 0;
        for site_id in sites {
            let request = project::ActivateSiteRequest {
                project_id: id.clone(),
                site_id,
                request_id: request_id(),
                ..Default::default()
            };
            let answer = client.activate_site(request).await.context("ActivateSite")?.into_inner();
            last_sequence = answer.project.context("ActivateSite answers with the project")?.last_event_sequence;
        }
        Ok(Study { id, shape: StudyShape { subjects: 0, ..shape }, last_sequence })
    }

    async fn plan_reactions(&self, study: &Study) -> Result<()> {
        let schedule = epro::Schedule {
            study_id: study.id.clone(),
            version: 0,
            instruments: vec![epro::Instrument {
                instrument_id: INSTRUMENT.to_owned(),
                version: "1.0".to_owned(),
                name: "Diary".to_owned(),
                items: Vec::new(),
            }],
            visits: vec![epro::Visit {
                visit_id: "baseline".to_owned(),
                name: "Baseline".to_owned(),
                instrument_ids: vec![INSTRUMENT.to_owned()],
                anchor: epro::VisitAnchor::StudyStart.into(),
                // Days on both sides, so that a test at midnight finds the window open.
                offset_days: 0,
                window_before_days: 2,
                window_after_days: 7,
            }],
            reminders: Vec::new(),
        };
        let mut epro = self.epro()?;
        epro.publish_schedule(epro::PublishScheduleRequest { schedule: Some(schedule), request_id: request_id() })
            .await
            .context("PublishSchedule")?;
        self.finance()?
            .set_fee_schedule(finance::SetFeeScheduleRequest {
                study_id: study.id.clone(),
                currency_code: "EUR".to_owned(),
                effective_from: "2020-01-01".to_owned(),
                startup_fee_minor: 250_000,
                request_id: request_id(),
                ..Default::default()
            })
            .await
            .context("SetFeeSchedule")?;
        let check = monitor::Check {
            dataset: "vitals".to_owned(),
            rule: Some(monitor::check::Rule::RowCount(monitor::RowCountRule { min: Some(1) })),
        };
        self.monitor()?
            .set_monitoring_plan(monitor::SetMonitoringPlanRequest {
                study_id: study.id.clone(),
                checks: vec![check],
                request_id: request_id(),
            })
            .await
            .context("SetMonitoringPlan")?;
        Ok(())
    }

    /// Enrols this many subjects, `subject-<first>` and on.
    ///
    /// # Errors
    /// Whatever the ePRO service answers.
    pub async fn enrol(&self, study: &Study, first: usize, count: usize) -> Result<()> {
        let mut epro = self.epro()?;
        for number in first..first + count {
            epro.enrol_subject(epro::EnrolSubjectRequest {
                study_id: study.id.clone(),
                subject_id: format!("subject-{number}"),
                site_id: "site-1".to_owned(),
                enrolled_on: String::new(),
                request_id: request_id(),
            })
            .await
            .with_context(|| format!("EnrolSubject {number}"))?;
        }
        Ok(())
    }

    /// StartProject with this request id.
    ///
    /// # Errors
    /// The service's own status.
    pub async fn start_project(&self, study_id: &str, request_id: &str) -> Result<project::Project, Status> {
        let mut client = self.project().map_err(|error| Status::internal(error.to_string()))?;
        let request = project::StartProjectRequest {
            project_id: study_id.to_owned(),
            request_id: request_id.to_owned(),
            etag: String::new(),
        };
        let answer = client.start_project(request).await?.into_inner();
        answer.project.ok_or_else(|| Status::internal("StartProject answered without the project"))
    }
}

/// A new request id.
#[must_use]
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
