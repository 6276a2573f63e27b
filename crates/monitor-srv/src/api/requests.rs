//! What each request must look like. Every violation is collected before any is reported.

use contracts::ids::{DatasetName, ProjectId};
use contracts::monitor::v1 as proto;
use prost::Message as _;
use service_kit::status::{ApiError, FieldViolations};
use sha2::{Digest as _, Sha256};

use crate::domain::check::{self, Check, MAX_PLAN_CHECKS, Rule};
use crate::domain::run::RunState;
use crate::mutation::NewPlan;

const MAX_REQUEST_ID_CHARS: usize = 128;

/// The value, if nothing at all was wrong.
pub(super) fn finish<T>(violations: FieldViolations, value: Option<T>) -> Result<T, ApiError> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations.into()),
    }
}

/// The study a reading request names.
pub(super) fn study_id(text: &str) -> Result<ProjectId, ApiError> {
    text.parse().map_err(|error: contracts::ids::InvalidId| ApiError::invalid("study_id", error.to_string()))
}

/// The state that a list is filtered by.
pub(super) fn state_filter(value: i32, violations: &mut FieldViolations) -> Option<RunState> {
    match proto::CheckRunState::try_from(value) {
        Ok(proto::CheckRunState::Unspecified) => None,
        Ok(proto::CheckRunState::Queued) => Some(RunState::Queued),
        Ok(proto::CheckRunState::Running) => Some(RunState::Running),
        Ok(proto::CheckRunState::Finished) => Some(RunState::Finished),
        Ok(proto::CheckRunState::Cancelled) => Some(RunState::Cancelled),
        Err(_) => {
            violations.add("state", format!("{value} is not a state of a check run; leave it out for all"));
            None
        }
    }
}

/// The plan that a request wishes for.
pub(super) fn new_plan(request: &proto::SetMonitoringPlanRequest) -> Result<NewPlan, ApiError> {
    let mut violations = FieldViolations::new();
    let study = violations.check("study_id", request.study_id.parse::<ProjectId>());
    let id_chars = request.request_id.chars().count();
    let is_plain = !request.request_id.chars().any(char::is_control);
    violations.require(
        id_chars <= MAX_REQUEST_ID_CHARS && is_plain,
        "request_id",
        format!("has {id_chars} characters; give at most {MAX_REQUEST_ID_CHARS}, and no control characters"),
    );
    let checks = checks(&request.checks, &mut violations);
    let study = finish(violations, study)?;
    let hash = Sha256::new().chain_update("SetMonitoringPlan\0").chain_update(request.encode_to_vec()).finalize();
    Ok(NewPlan { study, checks, request_id: request.request_id.clone(), request_hash: hash.to_vec() })
}

fn checks(checks: &[proto::Check], violations: &mut FieldViolations) -> Vec<Check> {
    if !(1..=MAX_PLAN_CHECKS).contains(&checks.len()) {
        violations.add("checks", format!("has {} checks; a plan has 1-{MAX_PLAN_CHECKS}", checks.len()));
        return Vec::new();
    }
    let mut checked = Vec::with_capacity(checks.len());
    for (index, check) in checks.iter().enumerate() {
        let field = |name: &str| format!("checks[{index}].{name}");
        let dataset = violations.check(field("dataset"), check.dataset.parse::<DatasetName>());
        let rule = match &check.rule {
            None => Err((field("rule"), "is missing; set row_count or missing".to_owned())),
            Some(proto::check::Rule::RowCount(rule)) => match rule.min.map(u64::try_from) {
                None => Ok(Rule::RowCount { min: Rule::DEFAULT_MIN_ROWS }),
                Some(Ok(min)) => Ok(Rule::RowCount { min }),
                Some(Err(_)) => Err((field("row_count.min"), "is negative; give 0 or more".to_owned())),
            },
            Some(proto::check::Rule::Missing(rule)) => check::column_name(&rule.column)
                .map(|column| Rule::Missing { column })
                .map_err(|wrong| (field("missing.column"), wrong)),
        };
        match rule {
            Ok(rule) => checked.extend(dataset.map(|dataset| Check { dataset, rule })),
            Err((field, wrong)) => violations.add(field, wrong),
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dataset: &str, rule: Option<proto::check::Rule>) -> proto::Check {
        proto::Check { dataset: dataset.into(), rule }
    }

    fn row_count(min: Option<i64>) -> Option<proto::check::Rule> {
        Some(proto::check::Rule::RowCount(proto::RowCountRule { min }))
    }

    fn missing(column: &str) -> Option<proto::check::Rule> {
        Some(proto::check::Rule::Missing(proto::MissingRule { column: column.into() }))
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let checks = vec![check("ae", row_count(None)), check("ae", row_count(Some(0))), check("ae", missing("A B"))];
        let request = proto::SetMonitoringPlanRequest { study_id: "P-1".into(), checks, request_id: "r".into() };
        let rules: Vec<Rule> = new_plan(&request).unwrap().checks.into_iter().map(|check| check.rule).collect();
        let expected =
            [Rule::RowCount { min: 1 }, Rule::RowCount { min: 0 }, Rule::Missing { column: "A B".to_owned() }];
        assert_eq!(rules, expected);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let checks = vec![check("a b", row_count(Some(-1))), check("ae", None), check("ae", missing(""))];
        let request = proto::SetMonitoringPlanRequest { study_id: String::new(), checks, request_id: "x".repeat(129) };
        let ApiError::Invalid(violations) = new_plan(&request).unwrap_err() else { panic!("another error") };
        let fields: Vec<&str> = violations.iter().map(|(field, _)| field).collect();
        let expected = [
            "study_id",
            "request_id",
            "checks[0].dataset",
            "checks[0].row_count.min",
            "checks[1].rule",
            "checks[2].missing.column",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_plan_has_a_check_and_a_bound() {
        for count in [0, 101] {
            let checks = vec![check("ae", row_count(None)); count];
            let request = proto::SetMonitoringPlanRequest { study_id: "P-1".into(), checks, request_id: String::new() };
            assert!(new_plan(&request).is_err(), "{count}");
        }
    }
}
