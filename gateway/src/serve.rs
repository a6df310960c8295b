//! Connections: accepting them, speaking HTTP/2 and HTTP/1 on them, and letting go of them without losing a call.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use slipway_rpc::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::front::Front;
use crate::web::{self, Origins};

/// Flow control windows, in bytes: large enough that uploads run at full speed.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How many calls one connection may have open.
const STREAMS: u32 = 4096;
const MAX_HEADERS: u32 = 32 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to close once their last call is done.
const GOODBYE: Duration = Duration::from_millis(500);
/// The pause after the system refused a connection: it has run out of something.
const BREATH: Duration = Duration::from_millis(100);

/// What is behind the door.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) front: Arc<Front>,
    pub(crate) origins: Arc<Origins>,
    /// Present: callers speak TLS.
    pub(crate) tls: Option<Tls>,
}

/// What every connection shares.
#[derive(Clone)]
struct Line {
    house: House,
    http: auto::Builder<TokioExecutor>,
    /// Take no more calls.
    closing: CancellationToken,
    /// Hang up.
    closed: CancellationToken,
}

/// Serves until `shutdown`, then lets calls under way finish for as long as `drain`. `silenced` is cancelled when health has
/// turned NOT_SERVING, which comes before anyone is sent away.
pub(crate) async fn serve(
    listener: TcpListener,
    house: House,
    drain: Duration,
    silenced: CancellationToken,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
    let line = Line { house, http: http(), closing: closing.clone(), closed: closed.clone() };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(line.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    silenced.cancelled().await;
    drop(listener);
    closing.cancel();
    connections.close();
    drained(&line.house.front, &connections, drain).await;
    closed.cancel();
    connections.wait().await;
}

async fn drained(front: &Front, connections: &TaskTracker, drain: Duration) {
    front.in_flight().close();
    let calls = async {
        front.in_flight().wait().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        () = connections.wait() => {}
        () = calls => {}
        () = tokio::time::sleep(drain) => {
            tracing::warn!(calls = front.in_flight().len(), "calls were cut off: they took longer than gateway.drain_seconds");
        }
    }
}

async fn connection(line: Line, stream: TcpStream) {
    // A socket that cannot be told still works, only slower.
    let _ = stream.set_nodelay(true);
    match line.house.tls.clone() {
        None => converse(line, stream).await,
        Some(tls) => match line.closing.run_until_cancelled(tls.accept(stream)).await {
            Some(Ok(stream)) => converse(line, stream).await,
            Some(Err(error)) => tracing::debug!(error, "a handshake failed"),
            None => {}
        },
    }
}

async fn converse(line: Line, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let (front, origins) = (line.house.front, line.house.origins);
    let service = service_fn(move |request| {
        let (front, origins) = (front.clone(), origins.clone());
        async move { Ok::<_, Infallible>(web::answer(front, origins, request).await) }
    });
    let mut connection = pin!(line.http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = line.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = line.closed.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended badly");
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    http
}
