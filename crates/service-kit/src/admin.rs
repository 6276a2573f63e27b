//! The admin HTTP server: `/livez`, `/readyz`, `/metrics`, and the routes a service adds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::readiness::Readiness;
use crate::status::ApiError;
use crate::supervisor::panic_message;
use crate::telemetry;

/// How often histograms are folded, so that they do not grow between two scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then lets open requests finish. `extra` holds the service's own routes.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    extra: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = router(readiness, extra);
    // Before the first request, whose figures would go nowhere.
    let recorder = telemetry::prometheus();
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).into_future();
    tokio::select! {
        ended = server => ended.map_err(|error| anyhow::Error::new(error).context("the admin HTTP server broke")),
        () = upkeep => Ok(()),
    }
}

/// The routes without a socket.
fn router(readiness: Readiness, extra: Router) -> Router {
    let observed = extra.layer(from_fn(observe));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(readiness))
        .merge(observed)
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let snapshot = readiness.snapshot();
    let status = if snapshot.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(snapshot)).into_response()
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::prometheus().render())
        .into_response()
}

/// A span, metrics and panic safety for each request of the service's own routes.
async fn observe(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("http", otel.kind = "server", %method, path);
    if let Some(parent) = request.headers().get("traceparent").and_then(|value| value.to_str().ok()) {
        telemetry::set_parent(&span, parent);
    }
    let begun = Instant::now();
    let answer = std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span).await;
    let response = answer.unwrap_or_else(|payload| {
        ApiError::internal(anyhow::anyhow!("handler of {path} panicked: {}", panic_message(payload.as_ref())))
            .into_response()
    });
    let status = response.status().as_u16().to_string();
    metrics::histogram!("http_server_seconds", "method" => method.to_string(), "path" => path, "status" => status)
        .record(begun.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn serving(
        readiness: Readiness,
        extra: Router,
    ) -> (String, CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, readiness, extra, stop.clone()));
        (url, stop, server)
    }

    async fn get(url: String) -> (u16, String) {
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn livez_depends_on_nothing_and_readyz_tells_each_component() {
        let readiness = Readiness::new(CancellationToken::new());
        let database = readiness.component("database");
        let (url, stop, server) = serving(readiness, Router::new()).await;
        database.set_down("connection refused");
        assert_eq!(get(format!("{url}/livez")).await.0, 200);
        let (status, body) = get(format!("{url}/readyz")).await;
        assert_eq!(status, 503);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body["components"]["database"],
            serde_json::json!({"state": "down", "detail": "connection refused"})
        );
        database.set_ok();
        assert_eq!(get(format!("{url}/readyz")).await.0, 200);
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_service_adds_routes_whose_panics_are_answered_and_whose_calls_are_counted() {
        async fn broken() {
            panic!("on purpose");
        }
        let extra = Router::new().route("/check/{job}", axum::routing::get(broken));
        let (url, stop, server) = serving(Readiness::new(CancellationToken::new()), extra).await;
        let (status, body) = get(format!("{url}/check/7")).await;
        assert_eq!(status, 500);
        assert!(!body.contains("on purpose"), "{body}");
        let (_, metrics) = get(format!("{url}/metrics")).await;
        assert!(
            metrics.contains(r#"http_server_seconds_count{method="GET",path="/check/{job}",status="500"} 1"#),
            "{metrics}"
        );
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
