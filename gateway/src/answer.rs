//! [`Answer`]: the body of a response on its way to the client. Messages pass unread; only how the call ends is looked at.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use slipway_rpc::{Fault, Reason};
use slipway_telemetry::metrics;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

/// A call under way: counted, traced, and waited for when the gateway stops.
pub(crate) struct InFlight {
    pub(crate) call: metrics::Call,
    pub(crate) span: Span,
    pub(crate) _token: TaskTrackerToken,
}

impl InFlight {
    /// The call has ended.
    pub(crate) fn finish(mut self, code: i32) {
        self.call.finish(code);
        self.span.record("rpc.grpc.status_code", code);
        self.span.in_scope(|| tracing::debug!(code, "call finished"));
    }
}

/// A response body that ends its call when it ends. Dropped before, the call counts as cancelled, and dropping the body
/// cancels the call upstream.
pub(crate) struct Answer {
    body: Body,
    call: Option<InFlight>,
    /// Plain HTTP: it has no trailers, ends well when it ends, and breaks off when it fails.
    plain: bool,
}

impl Answer {
    /// A body that belongs to no call.
    pub(crate) fn plain(body: Body) -> Answer {
        Answer { body, call: None, plain: true }
    }

    /// The response to a call. One without messages has its status in the headers, and has ended already.
    pub(crate) fn of(response: http::Response<Body>, call: InFlight) -> http::Response<Answer> {
        match status(response.headers()) {
            Some(code) => {
                call.finish(code);
                response.map(Answer::plain)
            }
            None => response.map(|body| Answer { body, call: Some(call), plain: false }),
        }
    }

    /// The response to a request by plain HTTP.
    pub(crate) fn file(response: http::Response<Body>, call: InFlight) -> http::Response<Answer> {
        response.map(|body| Answer { body, call: Some(call), plain: true })
    }

    fn finish(&mut self, code: i32) {
        if let Some(call) = self.call.take() {
            call.finish(code);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.call.is_none() {
            return Poll::Ready(frame);
        }
        if self.plain {
            match &frame {
                None => self.finish(Code::Ok as i32),
                Some(Err(status)) => self.finish(status.code() as i32),
                Some(Ok(_)) => {}
            }
            return Poll::Ready(frame);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.finish(status(trailers).unwrap_or(Code::Unknown as i32));
                }
                Some(Ok(frame))
            }
            None => {
                self.finish(Code::Unknown as i32);
                None
            }
            Some(Err(broken)) => {
                self.body = Body::empty();
                let status = Status::from(unreachable(broken));
                self.finish(status.code() as i32);
                let mut trailers = HeaderMap::new();
                Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The service cannot be reached, or broke off.
pub(crate) fn unreachable(cause: impl Into<slipway_rpc::BoxError>) -> Fault {
    Fault::new(Reason::ServiceUnavailable, "the service that answers this call cannot be reached; try again").source(cause)
}

fn status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()) as i32)
}
