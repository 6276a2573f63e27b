//! Responses over gRPC: into the intake, and back from the store.

use std::time::Duration;

use contracts::epro::v1 as proto;
use contracts::ids::SubmissionId;
use contracts::reasons;
use outbox::db::Database;
use prost::Message as _;
use service_kit::page;
use service_kit::status::{ApiError, FieldViolations, Precondition};
use worker_pool::{Intake, JobError, SubmitError};

use super::convert;
use super::requests::{self, Paging};
use crate::domain::submission::Refusal;
use crate::store::response as store;
use crate::submissions::{Job, NotStored, Outcome};

/// When to try again after the intake was full: some groups are committed by then.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(250);

/// Rows read at once while a page is filled: a response may be large.
const LIST_BATCH: i64 = 16;
/// A page ends early when its messages are this large, below every client's limit of a message.
const MAX_PAGE_BYTES: usize = 1_000_000;

/// Puts a submission into the intake and waits for its commit. Dropping the future abandons the answer, not the submission.
pub(super) async fn submit(intake: &Intake<Job, Outcome>, job: Job) -> Result<proto::SubmitResponseResponse, ApiError> {
    let (submission_id, assignment_id, study) = (job.submission_id.clone(), job.assignment_id, job.study.clone());
    let ticket = intake.try_submit(job).map_err(not_taken)?;
    let outcome = ticket.await.map_err(|error| not_done(&error))?;
    match outcome {
        Ok(receipt) => Ok(convert::receipt(&receipt)),
        Err(NotStored::UnknownAssignment) => Err(ApiError::not_found("assignment", assignment_id.to_string())),
        Err(NotStored::OtherBody) => Err(ApiError::already_exists(
            "response",
            submission_id.as_str(),
            "it came with another body; send a new submission_id for a new response",
        )),
        Err(NotStored::Refused(refusal)) => Err(refused(&refusal, study.as_str(), &assignment_id.to_string())),
    }
}

fn not_taken(error: SubmitError) -> ApiError {
    match error {
        SubmitError::Full { capacity, .. } => ApiError::resource_exhausted(
            format!(
                "{capacity} responses are waiting already; nothing was stored, submit again with the same submission_id"
            ),
            FULL_RETRY_AFTER,
        ),
        closed_or_too_large => {
            ApiError::unavailable(format!("{closed_or_too_large}; submit again with the same submission_id"))
        }
    }
}

fn not_done(error: &JobError) -> ApiError {
    match error {
        JobError::Unavailable { .. } | JobError::Stopped => ApiError::unavailable(format!(
            "whether the response was stored is unknown ({error}); submit again with the same submission_id"
        )),
        failed => ApiError::internal(anyhow::anyhow!("a response could not be stored: {failed}")),
    }
}

fn refused(refusal: &Refusal, study: &str, assignment_id: &str) -> ApiError {
    let message = refusal.to_string();
    let (kind, subject) = match refusal {
        Refusal::Invalid(violations) => return requests::violations(violations).into(),
        Refusal::CampaignNotActive(_) => ("CAMPAIGN_STATE", study),
        Refusal::AssignmentNotOpen(_) => ("ASSIGNMENT_STATE", assignment_id),
        Refusal::OutsideWindow { .. } => ("ASSIGNMENT_WINDOW", assignment_id),
    };
    let about = Precondition::new(kind, subject, message);
    ApiError::failed_precondition(reasons::WRONG_STATE, "the response cannot be taken", vec![about])
}

pub(super) async fn get(
    db: &Database,
    request: &proto::GetResponseRequest,
) -> Result<proto::GetResponseResponse, ApiError> {
    let mut violations = FieldViolations::new();
    violations.check("submission_id", SubmissionId::new(request.submission_id.as_str()));
    let (study, _) = requests::scope(&request.study_id, "", violations)?;
    let found = store::read(db.reader(), &study, &request.submission_id).await?;
    let response = found.ok_or_else(|| ApiError::not_found("response", request.submission_id.as_str()))?;
    Ok(proto::GetResponseResponse { response: Some(convert::response(response)) })
}

pub(super) async fn list(
    db: &Database,
    request: &proto::ListResponsesRequest,
) -> Result<proto::ListResponsesResponse, ApiError> {
    let mut violations = FieldViolations::new();
    let query = format!("responses {} {}", request.study_id, request.subject_id);
    let paging = Paging::of(request.page_size, query, &mut violations);
    let after = page::key_after(&request.page_token, &paging.query, &mut violations);
    let (study, subject_id) = requests::scope(&request.study_id, &request.subject_id, violations)?;

    let (mut responses, mut bytes, mut after) = (Vec::new(), 0, after.unwrap_or_default());
    loop {
        let batch = store::list(db.reader(), &study, subject_id.as_deref(), &after, LIST_BATCH).await?;
        if batch.is_empty() {
            return Ok(proto::ListResponsesResponse { responses, next_page_token: String::new() });
        }
        for row in batch {
            if responses.len() == paging.size() || bytes >= MAX_PAGE_BYTES {
                let next_page_token = page::token(&paging.query, &after);
                return Ok(proto::ListResponsesResponse { responses, next_page_token });
            }
            after.clone_from(&row.submission_id);
            let message = convert::response(row);
            bytes += message.encoded_len();
            responses.push(message);
        }
    }
}
