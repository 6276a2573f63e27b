//! [`ApiError`] as gRPC status with google.rpc details.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::ApiError;
use super::error::log_internal;

impl ApiError {
    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::RequestIdReused { .. } => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Aborted { .. } => Code::Aborted,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::ResourceExhausted { .. } => Code::ResourceExhausted,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let metadata: HashMap<String, String> =
            error.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(error.reason(), contracts::reasons::DOMAIN, metadata);
        if let Some(retry_after) = error.retry_after() {
            details.set_retry_info(Some(retry_after));
        }
        match &error {
            ApiError::Invalid(violations) => {
                for (field, description) in violations.iter() {
                    details.add_bad_request_violation(field, description);
                }
            }
            ApiError::RequestIdReused { .. } => {
                details.add_bad_request_violation("request_id", error.to_string());
            }
            ApiError::FailedPrecondition { violations, .. } => {
                for violation in violations {
                    details.add_precondition_failure_violation(
                        &violation.kind,
                        &violation.subject,
                        &violation.description,
                    );
                }
            }
            ApiError::NotFound { kind, id }
            | ApiError::AlreadyExists { kind, id, .. }
            | ApiError::Aborted { kind, id, .. } => {
                details.set_resource_info(*kind, id, "", "");
            }
            ApiError::Unavailable { .. } | ApiError::ResourceExhausted { .. } | ApiError::Internal(_) => {}
        }
        let message = match &error {
            ApiError::Internal(cause) => log_internal(cause),
            other => other.to_string(),
        };
        Status::with_error_details(error.code(), message, details)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{FieldViolations, Precondition};
    use super::*;

    #[test]
    fn each_error_has_its_code_and_reason() {
        for (error, code, reason) in [
            (ApiError::invalid("a", "b"), Code::InvalidArgument, "INVALID_FIELDS"),
            (ApiError::request_id_reused("r-1"), Code::InvalidArgument, "REQUEST_ID_REUSED"),
            (ApiError::not_found("project", "p"), Code::NotFound, "NOT_FOUND"),
            (ApiError::already_exists("response", "r", "other answers"), Code::AlreadyExists, "ALREADY_EXISTS"),
            (ApiError::aborted("project", "p", "1", "2"), Code::Aborted, "ETAG_MISMATCH"),
            (ApiError::failed_precondition("NOT_STARTED", "no", vec![]), Code::FailedPrecondition, "NOT_STARTED"),
            (ApiError::unavailable("database"), Code::Unavailable, "UNAVAILABLE"),
            (ApiError::resource_exhausted("full", Duration::from_secs(2)), Code::ResourceExhausted, "QUEUE_FULL"),
            (ApiError::internal(anyhow::anyhow!("secret cause")), Code::Internal, "INTERNAL"),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), code, "{status:?}");
            let info = status.get_details_error_info().expect("every status has an ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "ctms"));
        }
    }

    #[test]
    fn all_field_violations_arrive_at_once() {
        let mut violations = FieldViolations::new();
        assert_eq!(violations.check("project_id", "x".parse::<u8>()), None);
        assert_eq!(violations.check("count", "7".parse::<u8>()), Some(7));
        violations.require(false, "sites[2].site_id", "it is empty");
        let status = Status::from(violations.finish().unwrap_err());
        let fields: Vec<String> = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["project_id", "sites[2].site_id"]);
    }

    #[test]
    fn preconditions_and_retry_times_are_in_the_details() {
        let open = vec![Precondition::new("STARTUP_ITEM", "ethics_approval", "complete it first")];
        let status = Status::from(ApiError::failed_precondition("CHECKLIST_OPEN", "1 item is open", open));
        let violations = status.get_details_precondition_failure().unwrap().violations;
        assert_eq!(
            (violations[0].r#type.as_str(), violations[0].subject.as_str()),
            ("STARTUP_ITEM", "ethics_approval")
        );
        assert_eq!(status.get_details_error_info().unwrap().metadata["subjects"], "ethics_approval");
        let status = Status::from(ApiError::unavailable_after("database", Duration::from_secs(3)));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(3)));
    }

    #[test]
    fn the_cause_of_a_defect_stays_inside() {
        let status = Status::from(ApiError::internal(anyhow::anyhow!("password is hunter2")));
        assert!(status.message().contains("incident") && !status.message().contains("hunter2"));
    }
}
