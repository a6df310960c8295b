//! A request that can be sent once more when its first connection did not take it: gRPC's transparent retry
//! (<https://github.com/grpc/proposal/blob/master/A6-client-retries.md#transparent-retries>).

use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

/// How many bytes of a request are kept; one that has sent more is not sent again.
const KEPT: usize = 64 << 10;

/// The head of a request, and a hold on its body.
pub(super) struct Replay {
    head: Parts,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    body: Body,
    /// Frames that were handed out, while all of them are kept.
    kept: Option<VecDeque<Frame<Bytes>>>,
    bytes: usize,
    ended: bool,
}

/// The body as it is sent.
struct Sent(Arc<Mutex<Shared>>);

/// What was handed out before, then what was not.
struct Again {
    kept: VecDeque<Frame<Bytes>>,
    /// `None` when it had ended.
    rest: Option<Body>,
}

impl Replay {
    /// The request to send, and the means to send it again.
    pub(super) fn of(request: Request<Body>) -> (Request<Body>, Replay) {
        let (head, body) = request.into_parts();
        let shared = Arc::new(Mutex::new(Shared { body, kept: Some(VecDeque::new()), bytes: 0, ended: false }));
        let request = Request::from_parts(head.clone(), Body::new(Sent(shared.clone())));
        (request, Replay { head, shared })
    }

    /// The whole request anew, unless too much of it was handed out.
    pub(super) fn again(self) -> Option<Request<Body>> {
        let mut shared = lock(&self.shared);
        let kept = shared.kept.take()?;
        let body = std::mem::take(&mut shared.body);
        let rest = (!shared.ended).then_some(body);
        Some(Request::from_parts(self.head, Body::new(Again { kept, rest })))
    }
}

/// Whether the peer says that it has not looked at the request and never will.
pub(super) fn is_untouched(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let leaving = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
            return error.is_remote() && (leaving || error.reason() == Some(Reason::REFUSED_STREAM));
        }
        source = cause.source();
    }
    false
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let copy = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                self.bytes += data.len();
                Frame::data(data.clone())
            }
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            (None, None) => return,
        };
        if self.bytes > KEPT {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push_back(copy);
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut shared = lock(&self.0);
        let frame = std::task::ready!(Pin::new(&mut shared.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => shared.keep(frame),
            Some(Err(_)) => shared.kept = None,
            None => shared.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.kept.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.kept.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn request(bytes: usize) -> Request<Body> {
        Request::new(Body::new(Full::new(Bytes::from(vec![7; bytes])).map_err(|never| match never {})))
    }

    async fn bytes(request: Request<Body>) -> usize {
        request.into_body().collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn a_request_is_whole_again_however_much_was_taken() {
        let (sent, replay) = Replay::of(request(1_000));
        drop(sent);
        assert_eq!(bytes(replay.again().unwrap()).await, 1_000, "nothing was taken");
        let (sent, replay) = Replay::of(request(1_000));
        assert_eq!(bytes(sent).await, 1_000);
        assert_eq!(bytes(replay.again().unwrap()).await, 1_000, "everything was taken");
        let (sent, replay) = Replay::of(request(KEPT + 1));
        assert_eq!(bytes(sent).await, KEPT + 1);
        assert!(replay.again().is_none(), "too much was taken");
    }
}
