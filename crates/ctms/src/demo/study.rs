//! The study that the demo sets up: its sites, subjects, questionnaires, fees and checks. Values only; it calls nobody.

use contracts::{epro::v1 as epro, finance::v1 as finance, monitor::v1 as monitor, project::v1 as project};

/// Whole currency units are hundredths in EUR (ISO 4217 exponent 2).
const STARTUP_FEE_MINOR: i64 = 250_000;
/// The second site's own start-up fee.
const LARGE_SITE_FEE_MINOR: i64 = 400_000;

/// The sites that the demo activates; the third one stays planned.
pub(crate) const ACTIVATED_SITES: [&str; 2] = ["SITE-701", "SITE-702"];
/// Who the audit trail names.
pub(crate) const ACTOR: &str = "demo";
/// The dataset that the monitoring plan checks.
pub(crate) const DATASET: &str = "vitals";
/// The dataset's rows: one blood pressure is missing, so that one of the checks has something to find.
pub(crate) const DATASET_CSV: &str = "USUBJID,VISIT,VSTESTCD,VSORRES\n\
    701-001,BASELINE,SYSBP,128\n\
    701-001,BASELINE,DIABP,82\n\
    701-002,BASELINE,SYSBP,135\n\
    701-002,BASELINE,DIABP,\n\
    702-001,BASELINE,SYSBP,119\n\
    702-001,BASELINE,DIABP,76\n";

/// The project with three planned sites.
pub(crate) fn create_project(request_id: String) -> project::CreateProjectRequest {
    let site = |id: &str, name: &str, country: &str| project::PlannedSite {
        site_id: id.to_owned(),
        name: name.to_owned(),
        country_code: country.to_owned(),
    };
    project::CreateProjectRequest {
        name: "Mood and pain under daily dosing".to_owned(),
        protocol_number: "DEMO-101".to_owned(),
        protocol_title: "A randomised pilot study of daily dosing".to_owned(),
        sponsor: "Demo Sponsor".to_owned(),
        sites: vec![
            site(ACTIVATED_SITES[0], "University Hospital", "DE"),
            site(ACTIVATED_SITES[1], "City Clinic", "FR"),
            site("SITE-703", "Regional Hospital", "ES"),
        ],
        request_id,
        ..Default::default()
    }
}

/// The checklist items that are completed one by one; the remaining one, an activated site, comes with the sites.
pub(crate) const CHECKLIST: [project::StartupItemKind; 5] = [
    project::StartupItemKind::EthicsApproval,
    project::StartupItemKind::RegulatoryApproval,
    project::StartupItemKind::ContractAndBudget,
    project::StartupItemKind::ProtocolVersion,
    project::StartupItemKind::DataCaptureLive,
];

/// Three questionnaires over three visits, with a reminder two days after the invitation.
pub(crate) fn schedule(study_id: &str) -> epro::Schedule {
    let instrument = |id: &str, version: &str, name: &str, items: usize, maximum: f64| epro::Instrument {
        instrument_id: id.to_owned(),
        version: version.to_owned(),
        name: name.to_owned(),
        items: (1..=items)
            .map(|n| epro::InstrumentItem {
                item_id: format!("{id}-{n}"),
                prompt: format!("{name}, question {n}"),
                required: true,
                kind: epro::ItemKind::Number.into(),
                minimum: Some(0.0),
                maximum: Some(maximum),
                choices: vec![],
            })
            .collect(),
    };
    let visit = |id: &str, name: &str, instruments: &[&str], anchor: epro::VisitAnchor, offset_days: i32| epro::Visit {
        visit_id: id.to_owned(),
        name: name.to_owned(),
        instrument_ids: instruments.iter().map(|&id| id.to_owned()).collect(),
        anchor: anchor.into(),
        offset_days,
        window_before_days: if offset_days == 0 { 0 } else { 3 },
        window_after_days: 3,
    };
    epro::Schedule {
        study_id: study_id.to_owned(),
        version: 1,
        instruments: vec![
            instrument("PHQ9", "1.0", "Patient Health Questionnaire", 9, 3.0),
            instrument("GAD7", "1.0", "Generalized Anxiety Disorder", 7, 3.0),
            instrument("NRS", "1.0", "Pain numeric rating scale", 1, 10.0),
        ],
        visits: vec![
            visit("BASELINE", "Baseline", &["PHQ9", "GAD7", "NRS"], epro::VisitAnchor::StudyStart, 0),
            visit("WEEK2", "Week 2", &["PHQ9", "NRS"], epro::VisitAnchor::StudyStart, 14),
            visit("WEEK4", "Week 4", &["PHQ9", "GAD7", "NRS"], epro::VisitAnchor::StudyStart, 28),
        ],
        reminders: vec![epro::Reminder { offset_hours: 48 }],
    }
}

/// Two subjects at each activated site, as (subject, site).
pub(crate) const SUBJECTS: [(&str, &str); 4] = [
    ("701-001", ACTIVATED_SITES[0]),
    ("701-002", ACTIVATED_SITES[0]),
    ("702-001", ACTIVATED_SITES[1]),
    ("702-002", ACTIVATED_SITES[1]),
];

/// A start-up fee per activated site, in force since the beginning of 2020; the larger site has one of its own.
pub(crate) fn fees(study_id: &str, request_id: String) -> finance::SetFeeScheduleRequest {
    finance::SetFeeScheduleRequest {
        study_id: study_id.to_owned(),
        currency_code: "EUR".to_owned(),
        effective_from: "2020-01-01".to_owned(),
        effective_to: String::new(),
        startup_fee_minor: STARTUP_FEE_MINOR,
        site_fees: vec![finance::SiteFee {
            site_id: ACTIVATED_SITES[1].to_owned(),
            startup_fee_minor: LARGE_SITE_FEE_MINOR,
        }],
        request_id,
    }
}

/// One check that passes and one that finds the missing value.
pub(crate) fn monitoring_plan(study_id: &str, request_id: String) -> monitor::SetMonitoringPlanRequest {
    let check = |rule| monitor::Check { dataset: DATASET.to_owned(), rule: Some(rule) };
    monitor::SetMonitoringPlanRequest {
        study_id: study_id.to_owned(),
        checks: vec![
            check(monitor::check::Rule::RowCount(monitor::RowCountRule { min: Some(4) })),
            check(monitor::check::Rule::Missing(monitor::MissingRule { column: "VSORRES".to_owned() })),
        ],
        request_id,
    }
}
