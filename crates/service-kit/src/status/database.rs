//! Database errors at the API's boundary: those of the environment mean "try again", all others are defects of ours.

use outbox::AppendError;
use outbox::db::{DbErr, is_environment};

use super::ApiError;

impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        if is_environment(&error) {
            tracing::warn!(%error, "the database is away: the caller is asked to try again");
            return Self::unavailable("the database cannot answer now; try again with the same request_id");
        }
        Self::internal(anyhow::Error::new(error).context("database"))
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Database(error) => error.into(),
            too_large => Self::invalid("request", too_large.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use outbox::db::environment_error;
    use tonic::{Code, Status};
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn a_database_that_is_away_is_unavailable_with_a_time_to_retry() {
        let status = Status::from(ApiError::from(environment_error("connection refused to 10.0.0.3")));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_details_retry_info().is_some());
        assert!(!status.message().contains("10.0.0.3"), "addresses stay inside");
    }

    #[test]
    fn a_wrong_statement_is_internal() {
        assert_eq!(Status::from(ApiError::from(DbErr::Custom("no such column".to_owned()))).code(), Code::Internal);
    }
}
