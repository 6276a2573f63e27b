//! The layer around every call: a bound on calls in flight, the deadline, panic safety, a span and a measurement.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::body::CallBody;
use super::call::{Measurement, time_allowed};
use crate::config::GrpcArgs;
use crate::status::ApiError;
use crate::supervisor::panic_message;

/// What a client is told to wait when too many calls are in flight.
const BUSY_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Shared by all connections.
#[derive(Clone, Debug)]
pub(super) struct CallLayer {
    in_flight: Arc<Semaphore>,
    max_in_flight: usize,
    limit: Duration,
    known: Arc<HashSet<String>>,
    stop: CancellationToken,
}

impl CallLayer {
    pub(super) fn new(args: &GrpcArgs, known: Arc<HashSet<String>>, stop: CancellationToken) -> Self {
        let max_in_flight = args.grpc_max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            limit: args.grpc_timeout,
            known,
            stop,
        }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// A service with the layer around it.
#[derive(Clone, Debug)]
pub(super) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<CallBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let method = if self.layer.known.contains(path) { path.to_owned() } else { "unknown".to_owned() };
        let measurement = Measurement::begin(method, request.headers());
        let stop = self.layer.stop.clone();
        let Ok(permit) = self.layer.in_flight.clone().try_acquire_owned() else {
            let max = self.layer.max_in_flight;
            let busy = ApiError::resource_exhausted(format!("{max} calls are in flight, the limit"), BUSY_RETRY_AFTER);
            return Box::pin(std::future::ready(Ok(answer(busy.into(), measurement, stop))));
        };
        let allowed = time_allowed(request.headers(), self.layer.limit);
        let span = measurement.span.clone();
        // A handler may panic before its first await, too: calling it belongs inside.
        let called = span.in_scope(|| std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.call(request))));
        let future = async move {
            let _permit = permit;
            let future = match called {
                Ok(future) => AssertUnwindSafe(future).catch_unwind(),
                Err(payload) => return Ok(answer(panicked(payload.as_ref()), measurement, stop)),
            };
            match tokio::time::timeout(allowed, future).await {
                Ok(Ok(Ok(response))) => Ok(observed(response, measurement, stop)),
                Ok(Ok(Err(error))) => Err(error),
                Ok(Err(payload)) => Ok(answer(panicked(payload.as_ref()), measurement, stop)),
                Err(_) => {
                    let late = format!(
                        "no answer within {allowed:?}; what was accepted stays: retry with the same request_id"
                    );
                    Ok(answer(Status::deadline_exceeded(late), measurement, stop))
                }
            }
        };
        Box::pin(future.instrument(span))
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Status {
    ApiError::internal(anyhow::anyhow!("a handler panicked: {}", panic_message(payload))).into()
}

fn answer(status: Status, measurement: Measurement, stop: CancellationToken) -> Response<CallBody> {
    observed(status.into_http(), measurement, stop)
}

fn observed(response: Response<Body>, mut measurement: Measurement, stop: CancellationToken) -> Response<CallBody> {
    let code = Measurement::code_in(response.headers());
    if let Some(code) = code {
        measurement.ends_with(code);
    } else if !response.status().is_success() {
        measurement.ends_with(Code::Unknown);
    }
    // Headers with a status are the whole answer; else the trailers will tell.
    let open = code.is_none().then_some(measurement);
    response.map(|body| CallBody::new(body, open, stop))
}
