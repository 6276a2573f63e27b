//! PUT /studies/{study}/datasets/{name}: takes a CSV, checks that it is one, and stores it in the place of an earlier one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use contracts::ids::{DatasetName, ProjectId};
use contracts::reasons;
use outbox::db::{self, Tx};
use serde_json::json;
use service_kit::status::{ApiError, FieldViolations, Precondition};
use uuid::Uuid;

use super::{Http, body};
use crate::domain::dataset::{self as csv, Shape};
use crate::store::dataset::{self, Upload};

/// Most datasets of a study.
const MAX_DATASETS: u64 = 1_000;
/// When to try an upload again that found no place.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The study need not be known here yet: datasets may come before the first event and before the plan.
pub(super) async fn put(
    State(http): State<Arc<Http>>,
    Path((study, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&http, (&study, &name), &headers, body).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn take(http: &Http, path: (&str, &str), headers: &HeaderMap, body: Body) -> Result<Response, Response> {
    let (study, name) = ids(path).map_err(IntoResponse::into_response)?;
    let _place = http.uploads.try_acquire().map_err(|_| {
        let message = format!("{} uploads are under way, the most that this instance takes at once", http.max_uploads);
        ApiError::resource_exhausted(message, RETRY_AFTER).into_response()
    })?;
    let content = body::read(headers, body, "a dataset", http.dataset_max_bytes).await?;
    let bytes = content.len();
    let (shape, content) = inspect(content).await.map_err(IntoResponse::into_response)?;
    let (rows, columns) = (shape.rows, shape.header.len());
    let upload = Upload {
        study: study.clone(),
        name: name.clone(),
        id: Uuid::now_v7(),
        rows,
        columns: columns as u64,
        at: db::now(),
        content,
    };
    let stored = http.db.transaction(move |tx| Box::pin(async move { store(tx, upload).await })).await;
    let replaced = stored.map_err(IntoResponse::into_response)?;
    tracing::info!(%study, dataset = %name, rows, columns, bytes, replaced, "dataset stored");
    let answer = json!({"study": study, "dataset": name, "rows": rows, "columns": columns, "bytes": bytes, "replaced": replaced});
    Ok(Json(answer).into_response())
}

fn ids((study, name): (&str, &str)) -> Result<(ProjectId, DatasetName), ApiError> {
    let mut violations = FieldViolations::new();
    let study = violations.check("study", study.parse::<ProjectId>());
    let name = violations.check("dataset", name.parse::<DatasetName>());
    study.zip(name).ok_or(ApiError::Invalid(violations))
}

async fn inspect(content: Vec<u8>) -> Result<(Shape, Vec<u8>), ApiError> {
    let inspection = tokio::task::spawn_blocking(move || csv::inspect(&content).map(|shape| (shape, content)));
    let inspected = inspection.await.map_err(ApiError::internal)?;
    inspected.map_err(|fault| ApiError::invalid("body", fault.to_string()))
}

async fn store(tx: &Tx, upload: Upload) -> Result<bool, ApiError> {
    let is_new = !dataset::exists(tx, &upload.study, &upload.name).await?;
    if is_new && dataset::count(tx, &upload.study).await? >= MAX_DATASETS {
        let study = upload.study.as_str();
        let violation = Precondition::new("DATASET_LIMIT", study, "replace a dataset in the place of adding one");
        let message = format!("study {study} has {MAX_DATASETS} datasets, the most there may be");
        return Err(ApiError::failed_precondition(reasons::WRONG_STATE, message, vec![violation]));
    }
    dataset::put(tx, upload).await?;
    Ok(!is_new)
}
