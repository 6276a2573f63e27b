//! POST /check takes checks into the bounded pool, all or none; GET /check/{job} tells what came out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use service_kit::status::ApiError;
use time::OffsetDateTime;
use uuid::Uuid;
use worker_pool::SubmitError;

use super::question::{self, Question, Wrong};
use super::{Http, body, too_large};
use crate::checks::Refusal;
use crate::domain::check::{Check, Outcome};
use crate::domain::run::{Item, Run};
use crate::store::run;

/// Largest body of POST /check.
const MAX_BODY_BYTES: usize = 1_048_576;
/// When to ask again after the queue was full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// 200 with the id of the job; 400 with all that is wrong; 404 when the study has no such dataset; 413 when the queue could never take so
/// many; 503 when it cannot take them now.
///
/// The checks are done whatever the state of the study is: they only read, and somebody waits for them.
pub(super) async fn ask(State(http): State<Arc<Http>>, headers: HeaderMap, body: Body) -> Response {
    match take(&http, &headers, body).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn take(http: &Http, headers: &HeaderMap, body: Body) -> Result<Response, Response> {
    let body = body::read(headers, body, "POST /check", MAX_BODY_BYTES).await?;
    let limit = http.checks.capacity();
    let Question { study, checks } = question::read(&body, limit).map_err(|wrong| match wrong {
        Wrong::TooMany { count } => too_many(count, limit),
        Wrong::Invalid(error) => error.into_response(),
    })?;
    let asked = http.checks.ask(study.clone(), checks).await.map_err(|refusal| match refusal {
        Refusal::Pool(SubmitError::TooLarge { submitted, limit }) => too_many(submitted, limit),
        Refusal::Pool(full @ SubmitError::Full { .. }) => {
            ApiError::resource_exhausted(full.to_string(), RETRY_AFTER).into_response()
        }
        Refusal::Pool(closed) => ApiError::unavailable(closed.to_string()).into_response(),
        Refusal::NoDataset(name) => ApiError::not_found("dataset", format!("{study}/{name}")).into_response(),
        Refusal::Database(error) => ApiError::from(error).into_response(),
    })?;
    let message = format!("{} checks queued; GET /check/{} tells what came out", asked.count, asked.run);
    Ok(Json(json!({"message": message, "count": asked.count, "jobId": asked.run})).into_response())
}

fn too_many(count: usize, limit: usize) -> Response {
    too_large(&format!("{count} checks in one call: the queue never takes more than {limit}; send fewer"), limit)
}

/// 200 with the job as last committed; 404 for a job that is not known, or no longer (--check-retention).
pub(super) async fn show(State(http): State<Arc<Http>>, Path(job): Path<String>) -> Result<Json<Job>, ApiError> {
    let unknown = || ApiError::not_found("check job", job.as_str());
    let id: Uuid = job.parse().map_err(|_| unknown())?;
    let run = run::get(http.db.reader(), id).await?.ok_or_else(unknown)?;
    Ok(Json(run.into()))
}

/// A run as HTTP shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    job_id: Uuid,
    study: String,
    state: &'static str,
    counts: Counts,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    items: Vec<JobItem>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    total: usize,
    done: usize,
    passed: usize,
    failed: usize,
    error: usize,
}

/// `outcome`, `observed` and `message` are null until there is a result.
#[derive(Debug, Serialize)]
struct JobItem {
    #[serde(flatten)]
    check: Check,
    outcome: Option<&'static str>,
    observed: Option<u64>,
    message: Option<String>,
}

impl From<Run> for Job {
    fn from(run: Run) -> Self {
        Self {
            job_id: run.id,
            study: run.study.into(),
            state: run.state.as_str(),
            counts: Counts::of(&run.items),
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            items: run.items.into_iter().map(JobItem::from).collect(),
        }
    }
}

impl From<Item> for JobItem {
    fn from(Item { check, finding }: Item) -> Self {
        let outcome = finding.as_ref().map(|finding| finding.outcome.as_str());
        let observed = finding.as_ref().map(|finding| finding.observed);
        Self { check, outcome, observed, message: finding.map(|finding| finding.message) }
    }
}

impl Counts {
    fn of(items: &[Item]) -> Self {
        let mut counts = Self { total: items.len(), ..Self::default() };
        for finding in items.iter().filter_map(|item| item.finding.as_ref()) {
            counts.done += 1;
            *match finding.outcome {
                Outcome::Passed => &mut counts.passed,
                Outcome::Failed => &mut counts.failed,
                Outcome::Error => &mut counts.error,
            } += 1;
        }
        counts
    }
}
