//! One address of a pool: its connection, made anew whenever it is lost, and the way of a request onto it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;

use super::replay::{Replay, is_untouched};
use super::resolve::Target;
use super::{CONNECT_TIMEOUT, Inner};
use crate::{BoxError, Tls};

/// A peer that is silent for this long is asked whether it is there, calls or not.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// One that does not answer for this long is not.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 flow control windows, in bytes: large enough that a file streams at full speed.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The pause after a failed attempt: it doubles from the first to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A connection that breaks sooner was never one.
const STABLE: Duration = Duration::from_millis(500);
/// However many calls wait, attempts are so far apart.
const HURRIED: Duration = Duration::from_millis(20);

/// What the pool knows of an address. Dropping it lets the connection go once its calls are done.
pub(super) struct Peer {
    state: State,
    _gone: DropGuard,
}

enum State {
    Connecting,
    Up(Sender),
    Down { tried: Instant, why: String },
}

impl Peer {
    pub(super) fn new(gone: CancellationToken) -> Self {
        Self { state: State::Connecting, _gone: gone.drop_guard() }
    }

    /// The connection, while it takes calls.
    pub(super) fn sender(&self) -> Option<&Sender> {
        match &self.state {
            State::Up(sender) if !sender.sender.is_closed() => Some(sender),
            _ => None,
        }
    }

    /// Why the last attempt failed, if it was begun after `came`.
    pub(super) fn failure_since(&self, came: Instant) -> Option<String> {
        match &self.state {
            State::Down { tried, why } if *tried >= came => Some(why.clone()),
            _ => None,
        }
    }
}

/// A connection that stands; cheap to clone.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    sender: SendRequest<Body>,
    /// Calls under way, to the end of their streams.
    calls: Arc<AtomicUsize>,
}

/// What became of a request that has no answer.
pub(super) enum SendError {
    /// The peer has not looked at it; here it is.
    NotSent(Box<Request<Body>>),
    /// It may have arrived.
    Broken(hyper::Error),
}

impl Sender {
    pub(super) fn load(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) async fn send(mut self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let call = Call::begin(&self.calls);
        if self.sender.ready().await.is_err() {
            return Err(SendError::NotSent(Box::new(request)));
        }
        let (request, replay) = Replay::of(request);
        let answer = self.sender.try_send_request(request);
        // A request that is handed over just when the connection ends is told so when the last sender is gone: whoever waits
        // must hold none.
        drop(self.sender);
        let error = match answer.await {
            Ok(response) => return Ok(response.map(|body| Body::new(Counted { body, _call: call }))),
            Err(error) => error,
        };
        let untouched = error.message().is_some() || is_untouched(error.error());
        match replay.again().filter(|_| untouched) {
            Some(request) => Err(SendError::NotSent(Box::new(request))),
            None => Err(SendError::Broken(error.into_error())),
        }
    }
}

/// Counts as load until it is dropped.
struct Call(Arc<AtomicUsize>);

impl Call {
    fn begin(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer's body, with the call that it belongs to.
struct Counted {
    body: Incoming,
    _call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Keeps one address connected until the pool or the address is gone. A connection lives on while calls are under way.
pub(super) async fn keep(pool: Weak<Inner>, address: SocketAddr, target: Target, tls: Option<Tls>, gone: CancellationToken) {
    let mut failures = 0;
    loop {
        let tried = Instant::now();
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, connect(address, &target, tls.as_ref()));
        let connected = tokio::select! {
            connected = attempt => connected,
            () = gone.cancelled() => return,
        };
        let state = match connected {
            Ok(Ok((sender, connection))) => {
                let sender =
                    Sender { scheme: target.scheme.clone(), authority: target.authority.clone(), sender, calls: Arc::default() };
                if !set(&pool, address, State::Up(sender)) {
                    return;
                }
                let up = Instant::now();
                let ended = connection.await;
                if let Err(error) = &ended {
                    tracing::debug!(%address, error = error as &dyn std::error::Error, "a connection broke");
                }
                match ended {
                    // A server that refuses our certificate says so only after our side of the handshake.
                    Err(error) if up.elapsed() < STABLE => State::Down { tried, why: error.to_string() },
                    _ => State::Connecting,
                }
            }
            Ok(Err(error)) => State::Down { tried, why: error.to_string() },
            Err(_) => State::Down { tried, why: format!("no answer from {address} in {CONNECT_TIMEOUT:?}") },
        };
        let lost = matches!(state, State::Connecting);
        // Before anyone can know of the failure, or a call that hurries us is missed.
        let Some(hurried) = pool.upgrade().map(|pool| pool.hurry.clone().notified_owned()) else { return };
        if !set(&pool, address, state) || gone.is_cancelled() {
            return;
        }
        if lost {
            failures = 0;
            // Perhaps the address has changed hands.
            ask_for_names(&pool);
            continue;
        }
        failures += 1;
        pause(hurried, &gone, tried, failures).await;
    }
}

/// False when there is nobody left to know it.
fn set(pool: &Weak<Inner>, address: SocketAddr, state: State) -> bool {
    let Some(pool) = pool.upgrade() else { return false };
    let known = match pool.peers().get_mut(&address) {
        Some(peer) => {
            peer.state = state;
            true
        }
        None => false,
    };
    pool.tell();
    known
}

fn ask_for_names(pool: &Weak<Inner>) {
    if let Some(pool) = pool.upgrade() {
        pool.look_up.notify_one();
    }
}

async fn pause(hurried: OwnedNotified, gone: &CancellationToken, tried: Instant, failures: u32) {
    let full = AGAIN.0.saturating_mul(1 << failures.min(10)).min(AGAIN.1);
    let longest = full.mul_f64(rand::rng().random_range(0.5..=1.0));
    let hurried = async {
        hurried.await;
        tokio::time::sleep_until(tried + HURRIED).await;
    };
    tokio::select! {
        () = gone.cancelled() => {}
        () = tokio::time::sleep(longest) => {}
        () = hurried => {}
    }
}

/// A connection, encrypted or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Connection = http2::Connection<TokioIo<Box<dyn Io>>, Body, TokioExecutor>;

async fn connect(address: SocketAddr, target: &Target, tls: Option<&Tls>) -> Result<(SendRequest<Body>, Connection), BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Io> = match tls.filter(|_| target.scheme == Scheme::HTTPS) {
        Some(tls) => Box::new(tls.connect(target.host(), stream).await?),
        None => Box::new(stream),
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(builder.handshake(TokioIo::new(stream)).await?)
}
