//! One small project, ready to start: a site, a subject, a questionnaire, a fee and a check, so that each service has one effect.

use anyhow::Context as _;
use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor, project::v1 as project};
use uuid::Uuid;

use crate::clients::Clients;

const SITE: &str = "S1";
const CHECKLIST: [project::StartupItemKind; 5] = [
    project::StartupItemKind::EthicsApproval,
    project::StartupItemKind::RegulatoryApproval,
    project::StartupItemKind::ContractAndBudget,
    project::StartupItemKind::ProtocolVersion,
    project::StartupItemKind::DataCaptureLive,
];

/// Creates the project and everything around it; returns its id.
///
/// # Errors
/// A call failed; names it.
pub(super) async fn prepare(clients: &Clients) -> anyhow::Result<String> {
    let request_id = || Uuid::new_v4().to_string();
    let mut projects = clients.project.clone();
    let create = project::CreateProjectRequest {
        name: "Load".to_owned(),
        protocol_number: "LOAD-1".to_owned(),
        sponsor: "Load".to_owned(),
        sites: vec![project::PlannedSite {
            site_id: SITE.to_owned(),
            name: "Site".to_owned(),
            country_code: "DE".to_owned(),
        }],
        request_id: request_id(),
        ..Default::default()
    };
    let created = projects.create_project(create).await.context("CreateProject failed")?.into_inner();
    let id = created.project.unwrap_or_default().project_id;
    for kind in CHECKLIST {
        let complete = project::CompleteStartupItemRequest {
            project_id: id.clone(),
            kind: kind.into(),
            request_id: request_id(),
            ..Default::default()
        };
        projects.complete_startup_item(complete).await.context("CompleteStartupItem failed")?;
    }
    let activate = project::ActivateSiteRequest {
        project_id: id.clone(),
        site_id: SITE.to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    projects.activate_site(activate).await.context("ActivateSite failed")?;

    let mut questionnaires = clients.epro.clone();
    let publish = epro::PublishScheduleRequest { schedule: Some(schedule(&id)), request_id: request_id() };
    questionnaires.publish_schedule(publish).await.context("PublishSchedule failed")?;
    let enrol = epro::EnrolSubjectRequest {
        study_id: id.clone(),
        subject_id: "P1".to_owned(),
        site_id: SITE.to_owned(),
        enrolled_on: time::OffsetDateTime::now_utc().date().to_string(),
        request_id: request_id(),
    };
    questionnaires.enrol_subject(enrol).await.context("EnrolSubject failed")?;

    let fees = finance::SetFeeScheduleRequest {
        study_id: id.clone(),
        currency_code: "EUR".to_owned(),
        effective_from: "2020-01-01".to_owned(),
        startup_fee_minor: 100_000,
        request_id: request_id(),
        ..Default::default()
    };
    clients.finance.clone().set_fee_schedule(fees).await.context("SetFeeSchedule failed")?;

    let rule = monitor::check::Rule::RowCount(monitor::RowCountRule { min: Some(1) });
    let plan = monitor::SetMonitoringPlanRequest {
        study_id: id.clone(),
        checks: vec![monitor::Check { dataset: "vitals".to_owned(), rule: Some(rule) }],
        request_id: request_id(),
    };
    clients.monitor.clone().set_monitoring_plan(plan).await.context("SetMonitoringPlan failed")?;
    Ok(id)
}

/// Starts a project; returns the id of its event.
///
/// # Errors
/// The call failed.
pub(super) async fn start(clients: &Clients, project_id: &str) -> anyhow::Result<String> {
    let start = project::StartProjectRequest {
        project_id: project_id.to_owned(),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let started = clients.project.clone().start_project(start).await.context("StartProject failed")?.into_inner();
    Ok(started.project.unwrap_or_default().last_event_id)
}

fn schedule(study_id: &str) -> epro::Schedule {
    epro::Schedule {
        study_id: study_id.to_owned(),
        version: 1,
        instruments: vec![epro::Instrument {
            instrument_id: "NRS".to_owned(),
            version: "1.0".to_owned(),
            name: "Pain".to_owned(),
            items: vec![epro::InstrumentItem {
                item_id: "NRS1".to_owned(),
                prompt: "Pain now".to_owned(),
                ..Default::default()
            }],
        }],
        visits: vec![epro::Visit {
            visit_id: "V1".to_owned(),
            name: "Baseline".to_owned(),
            instrument_ids: vec!["NRS".to_owned()],
            anchor: epro::VisitAnchor::StudyStart.into(),
            ..Default::default()
        }],
        reminders: vec![],
    }
}
