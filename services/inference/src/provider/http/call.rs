//! One call as a stream: sending, waiting for the provider's yes, reading deltas. A failure ends it: trying again is the
//! router's.
//!
//! The stream is polled directly by whoever reads it: no task and no channel lies between, so dropping it drops the
//! connection, and a slow reader slows the provider down.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream};
use futures::{FutureExt as _, StreamExt as _};
use reqwest::{Response, Url};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::failure::{self, network};
use super::frames::{Frames, TooLarge};
use super::{Endpoint, Reader};
use crate::error::{Kind, ProviderError};
use crate::model::Delta;

const MAX_REFUSAL: usize = 64 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
// How long the end of a body may lag behind the end of the answer before its connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);
// How many deltas may go on their way together.
const GATHERED: usize = 64;

type Body = BoxStream<'static, reqwest::Result<Bytes>>;
type Opening = BoxFuture<'static, Result<Response, ProviderError>>;

/// A call in progress.
pub(super) struct Call<R> {
    at: Arc<Endpoint>,
    state: State,
    reader: R,
    queue: VecDeque<Delta>,
    gathering: Gathering,
    started: bool,
}

// Deltas that came in one go leave in one go: a packet each would cost more than all the rest. The connection hands its
// bytes over in small pieces, with a turn of its own in between; as long as each turn brings more, it gets another one.
#[derive(Clone, Copy, PartialEq)]
enum Gathering {
    // What is queued may go.
    Done,
    // Something came since the connection's last turn.
    More,
    // The connection has its turn.
    Waiting,
}

enum State {
    Opening(Opening),
    Reading(Reading),
    // The answer is over; the body's end is read so that the connection can be used again.
    Draining(Body, Pin<Box<Sleep>>),
    Failing(ProviderError),
    Over,
}

struct Reading {
    body: Body,
    frames: Frames,
    silence: Pin<Box<Sleep>>,
    heard: Instant,
}

impl<R: Reader> Call<R> {
    /// A call that is sent when it is first polled.
    pub(super) fn new(at: Arc<Endpoint>, url: Url, request: Bytes, reader: R) -> Self {
        let opening = open(at.clone(), url, request).boxed();
        Self::opening(at, reader, opening)
    }

    /// A call whose response is there already.
    pub(super) fn replay(at: Arc<Endpoint>, reader: R, response: Response) -> Self {
        let opening = {
            let at = at.clone();
            async move { accept(&at, response).await }.boxed()
        };
        Self::opening(at, reader, opening)
    }

    fn opening(at: Arc<Endpoint>, reader: R, opening: Opening) -> Self {
        let state = State::Opening(opening);
        Self { at, state, reader, queue: VecDeque::new(), gathering: Gathering::Done, started: false }
    }

    /// The end, with what was used up to there.
    fn failed(&mut self, mut error: ProviderError) -> State {
        if self.started {
            error.usage = Some(Box::new(self.reader.tally().so_far()));
        }
        State::Failing(error)
    }

    /// The next state from reading, once there is one; deltas go to the queue.
    fn poll_reading(&mut self, reading: &mut Reading, cx: &mut Context<'_>) -> Poll<Option<State>> {
        match reading.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                reading.heard = Instant::now();
                if let Err(error) = self.read(reading, &bytes) {
                    return Poll::Ready(Some(self.failed(error)));
                }
                if !self.reader.is_done() {
                    return Poll::Ready(None);
                }
                let body = std::mem::replace(&mut reading.body, futures::stream::empty().boxed());
                Poll::Ready(Some(self.ended(body)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = network::broke_off(&self.at, error);
                Poll::Ready(Some(self.failed(error)))
            }
            Poll::Ready(None) => {
                let next = match self.read_rest(reading) {
                    Ok(()) => self.ended(futures::stream::empty().boxed()),
                    Err(error) => self.failed(error),
                };
                Poll::Ready(Some(next))
            }
            Poll::Pending => {
                // The timer is moved only when it fires: hearing a delta costs no timer operation.
                while reading.silence.as_mut().poll(cx).is_ready() {
                    let until = reading.heard + self.at.idle_timeout;
                    if until <= Instant::now() {
                        let message = format!("was silent for {:?} in the middle of its answer", self.at.idle_timeout);
                        let error = self.at.error(Kind::TimeoutBetweenDeltas, message);
                        return Poll::Ready(Some(self.failed(error)));
                    }
                    reading.silence.as_mut().reset(until);
                }
                Poll::Pending
            }
        }
    }

    fn read(&mut self, reading: &mut Reading, bytes: &[u8]) -> Result<(), ProviderError> {
        let Self { at, reader, queue, .. } = self;
        let read = reading.frames.feed(bytes, |data| Ok::<_, Failed>(reader.event(at, data, queue)?));
        read.map_err(|e| e.named(at))
    }

    fn read_rest(&mut self, reading: &mut Reading) -> Result<(), ProviderError> {
        let Self { at, reader, queue, .. } = self;
        reading.frames.finish(|data| reader.event(at, data, queue))
    }

    /// The answer is over: its last delta, or that it is not whole.
    fn ended(&mut self, body: Body) -> State {
        match self.reader.end(&self.at) {
            Ok(last) => {
                self.queue.push_back(last);
                State::Draining(body, Box::pin(sleep(DRAIN_TIMEOUT)))
            }
            Err(error) => self.failed(error),
        }
    }
}

impl<R: Reader> Stream for Call<R> {
    type Item = Result<Delta, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.gathering == Gathering::Done
                && let Some(delta) = this.queue.pop_front()
            {
                return Poll::Ready(Some(Ok(delta)));
            }
            match std::mem::replace(&mut this.state, State::Over) {
                State::Opening(mut opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => {
                        this.state = State::Opening(opening);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => this.state = this.failed(error),
                    Poll::Ready(Ok(response)) => {
                        this.state = State::Reading(Reading::of::<R>(response, this.at.idle_timeout));
                        this.started = true;
                        return Poll::Ready(Some(Ok(Delta::Started)));
                    }
                },
                State::Reading(mut reading) => match this.poll_reading(&mut reading, cx) {
                    Poll::Ready(Some(next)) => {
                        this.state = next;
                        this.gathering = Gathering::Done;
                    }
                    Poll::Ready(None) => {
                        this.state = State::Reading(reading);
                        let more = !this.queue.is_empty() && this.queue.len() < GATHERED;
                        this.gathering = if more { Gathering::More } else { Gathering::Done };
                    }
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        match this.gathering {
                            Gathering::Done => return Poll::Pending,
                            Gathering::Waiting => this.gathering = Gathering::Done,
                            Gathering::More => {
                                this.gathering = Gathering::Waiting;
                                cx.waker().wake_by_ref();
                                return Poll::Pending;
                            }
                        }
                    }
                },
                State::Draining(mut body, mut timer) => match body.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(_))) => this.state = State::Draining(body, timer),
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => {
                        if timer.as_mut().poll(cx).is_pending() {
                            this.state = State::Draining(body, timer);
                            return Poll::Pending;
                        }
                        return Poll::Ready(None);
                    }
                },
                State::Failing(error) => return Poll::Ready(Some(Err(error))),
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Reading {
    fn of<R: Reader>(response: Response, idle: Duration) -> Self {
        Self {
            frames: Frames::of(response.headers(), R::FRAMING),
            body: response.bytes_stream().boxed(),
            silence: Box::pin(sleep(idle)),
            heard: Instant::now(),
        }
    }
}

enum Failed {
    TooLarge,
    Provider(ProviderError),
}

impl From<TooLarge> for Failed {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl Failed {
    fn named(self, at: &Endpoint) -> ProviderError {
        match self {
            Self::TooLarge => at.error(Kind::Server, "sent an event that is too long"),
            Self::Provider(error) => error,
        }
    }
}

/// Sends the request and waits for the provider's yes or no.
async fn open(at: Arc<Endpoint>, url: Url, request: Bytes) -> Result<Response, ProviderError> {
    let response = send(&at, url, request).await?;
    accept(&at, response).await
}

/// Sends the request and waits for whatever is answered.
pub(super) async fn send(at: &Endpoint, url: Url, request: Bytes) -> Result<Response, ProviderError> {
    let sent = at.client.post(url).headers(at.headers.clone()).body(request).send();
    match timeout(at.headers_timeout, sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(network::not_sent(at, error)),
        Err(_) => {
            let message = format!("did not answer within {:?}", at.headers_timeout);
            Err(at.error(Kind::TimeoutBeforeAnswer, message))
        }
    }
}

/// A response that is a yes; a no is read and becomes its error.
pub(super) async fn accept(at: &Endpoint, response: Response) -> Result<Response, ProviderError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers().clone();
    // A refusal whose body does not come is a refusal all the same.
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let _ = timeout(REFUSAL_TIMEOUT, async {
        while let Some(Ok(chunk)) = chunks.next().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REFUSAL {
                break;
            }
        }
    })
    .await;
    Err(failure::from_response(at, status, &headers, &body))
}
