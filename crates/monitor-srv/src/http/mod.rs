//! The HTTP interface, on the admin listener: datasets in, checks asked for, results out. Thin: what is asked becomes calls of `checks` and
//! `store`.

mod body;
mod checks;
mod datasets;
mod question;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use outbox::db::Database;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::checks::Checks;
use crate::config::MonitorArgs;

/// What the handlers need.
#[derive(Debug)]
struct Http {
    db: Database,
    checks: Checks,
    uploads: Semaphore,
    max_uploads: usize,
    dataset_max_bytes: usize,
}

/// The routes of the service.
pub(crate) fn router(db: Database, checks: Checks, args: &MonitorArgs) -> Router {
    let http = Http {
        db,
        checks,
        uploads: Semaphore::new(args.dataset_uploads),
        max_uploads: args.dataset_uploads,
        dataset_max_bytes: args.dataset_max_bytes,
    };
    Router::new()
        .route("/studies/{study}/datasets/{name}", put(datasets::put))
        .route("/check", post(checks::ask))
        .route("/check/{job}", get(checks::show))
        .with_state(Arc::new(http))
}

/// More than this service ever takes in one request.
fn too_large(error: &str, limit: usize) -> Response {
    (StatusCode::PAYLOAD_TOO_LARGE, axum::Json(json!({"error": error, "reason": "TOO_LARGE", "limit": limit})))
        .into_response()
}
