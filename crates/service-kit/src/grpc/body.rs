//! The body of an answer: sees the trailers for the measurement, survives a panic in a stream, and ends a server stream when the
//! server stops, so that a watcher cannot hold the stop up.

use std::future::Future as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::call::Measurement;
use crate::status::ApiError;
use crate::supervisor::panic_message;

/// See the module.
#[derive(Debug)]
pub(super) struct CallBody {
    inner: Body,
    open: Option<Measurement>,
    stop: CancellationToken,
    /// Made only when the body has to wait: unary answers never do.
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

impl CallBody {
    pub(super) fn new(inner: Body, open: Option<Measurement>, stop: CancellationToken) -> Self {
        Self { inner, open, stop, stopped: None, ended: false }
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.close(Some(status.code()));
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }

    fn close(&mut self, code: Option<tonic::Code>) {
        if let Some(mut measurement) = self.open.take()
            && let Some(code) = code
        {
            measurement.ends_with(code);
        }
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let span = this.open.as_ref().map(|measurement| measurement.span.clone());
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _entered = span.as_ref().map(tracing::Span::enter);
            Pin::new(&mut this.inner).poll_frame(cx)
        }));
        match polled {
            Err(payload) => {
                let cause = anyhow::anyhow!("a stream panicked: {}", panic_message(payload.as_ref()));
                this.end_with(&ApiError::internal(cause).into())
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.close(Measurement::code_in(trailers));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(other)) => {
                this.ended = true;
                this.open = None;
                Poll::Ready(other)
            }
            Ok(Poll::Pending) => {
                let stop = &this.stop;
                let stopped = this.stopped.get_or_insert_with(|| Box::pin(stop.clone().cancelled_owned()));
                if stopped.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.end_with(&ApiError::unavailable("the server is stopping; connect again").into())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
