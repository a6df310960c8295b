//! Pools against real HTTP/2 servers that come, go and die.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::*;

/// What the name has at the moment.
#[derive(Default)]
struct Book(Mutex<Vec<SocketAddr>>);

impl Resolve for Book {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) } })
    }
}

/// A server whose answers take a moment and come in two pieces.
struct Server {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(at: &str) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        let (address, answered, stop) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let task = tokio::spawn(serve(listener, answered.clone(), stop.clone()));
        Server { address, answered, stop, task }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// As a lost process: connections break at once.
    async fn kill(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }

    /// As an orderly one: it says that it goes, and finishes what it has.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn serve(listener: TcpListener, answered: Arc<AtomicUsize>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, _) = accepted.unwrap();
        let (answered, stop) = (answered.clone(), stop.clone());
        connections.spawn(async move {
            let service = service_fn(move |_| answer(answered.clone()));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn answer(answered: Arc<AtomicUsize>) -> Result<Response<Body>, Infallible> {
    answered.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let pieces = futures::stream::iter([Ok::<_, Infallible>("pi"), Ok("eces")]).map_pieces();
    Ok(Response::new(Body::new(StreamBody::new(pieces))))
}

trait Pieces: Sized {
    fn map_pieces(self) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + Send;
}

impl<S: futures::Stream<Item = Result<&'static str, Infallible>> + Send> Pieces for S {
    fn map_pieces(self) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + Send {
        futures::StreamExt::then(self, |piece| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            piece.map(|text| http_body::Frame::data(Bytes::from_static(text.as_bytes())))
        })
    }
}

fn pool(addresses: &[SocketAddr]) -> (Pool, Arc<Book>) {
    let book = Arc::new(Book(Mutex::new(addresses.to_vec())));
    (Pool::new("http://service:50051", book.clone(), None).unwrap(), book)
}

async fn call(pool: &Pool) -> Result<Bytes, BoxError> {
    let message = Full::new(Bytes::from_static(b"message")).map_err(|never| match never {});
    let request = Request::post("/slipway.test/Call").body(Body::new(message)).unwrap();
    Ok(pool.call(request).await?.into_body().collect().await?.to_bytes())
}

async fn calls(pool: &Pool, count: usize) {
    for _ in 0..count {
        assert_eq!(call(pool).await.unwrap(), "pieces");
    }
}

/// Calls until `enough`, each of which must succeed.
async fn calls_until(pool: &Pool, enough: impl Fn() -> bool) {
    let calling = async {
        while !enough() {
            calls(pool, 1).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), calling).await.expect("it happens in time");
}

#[tokio::test]
async fn every_replica_gets_calls() {
    let servers = [Server::start("127.0.0.1:0").await, Server::start("127.0.0.1:0").await, Server::start("127.0.0.1:0").await];
    let (pool, _book) = pool(&servers.each_ref().map(|server| server.address));
    calls_until(&pool, || servers.iter().all(|server| server.answered() >= 10)).await;
}

#[tokio::test]
async fn a_dead_replica_costs_no_later_call_and_is_welcome_back() {
    let (one, two) = (Server::start("127.0.0.1:0").await, Server::start("127.0.0.1:0").await);
    let (pool, _book) = pool(&[one.address, two.address]);
    calls_until(&pool, || one.answered() > 0 && two.answered() > 0).await;
    let address = one.kill().await;
    // The news of the broken connection is on its way to us.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    calls(&pool, 100).await;
    let one = Server::start(&address.to_string()).await;
    calls_until(&pool, || one.answered() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_under_load_fails_no_call() {
    let (one, two) = (Server::start("127.0.0.1:0").await, Server::start("127.0.0.1:0").await);
    let (pool, _book) = pool(&[one.address, two.address]);
    calls_until(&pool, || one.answered() > 0 && two.answered() > 0).await;
    let done = CancellationToken::new();
    let mut load = JoinSet::new();
    for _ in 0..50 {
        let (pool, done) = (pool.clone(), done.clone());
        load.spawn(async move {
            let mut made = 0;
            while !done.is_cancelled() {
                calls(&pool, 1).await;
                made += 1;
            }
            made
        });
    }
    let before = two.answered();
    calls_until(&pool, || two.answered() > before + 100).await;
    one.stop().await;
    let before = two.answered();
    calls_until(&pool, || two.answered() > before + 200).await;
    done.cancel();
    let made: usize = load.join_all().await.into_iter().sum();
    assert!(made > 300, "{made} calls, none of which failed");
}

/// A balancer in front of a server that comes and goes: some are turned out at once, some in the middle of their calls.
async fn flapping(server: SocketAddr, seed: u64) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = tokio::spawn(async move {
        let mut inside = JoinSet::new();
        for turn in seed.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let life = Duration::from_micros(turn * 7_919 % 40_000);
            inside.spawn(async move {
                if turn % 3 == 0 {
                    return tokio::time::sleep(life / 32).await;
                }
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::time::timeout(life, tokio::io::copy_bidirectional(&mut client, &mut server)).await;
            });
        }
    });
    (address, door)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_whenever_its_connection_does() {
    let server = Server::start("127.0.0.1:0").await;
    let (one, two) = (flapping(server.address, 1).await, flapping(server.address, 2).await);
    let (pool, _book) = pool(&[one.0, two.0]);
    let mut calling = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        calling.spawn(async move {
            let mut answered = 0;
            for _ in 0..100 {
                let ended = tokio::time::timeout(CONNECT_TIMEOUT * 2, call(&pool)).await;
                answered += usize::from(ended.expect("the call ends").is_ok());
            }
            answered
        });
    }
    let answered: usize = calling.join_all().await.into_iter().sum();
    assert!(answered > 0 && answered < 2_000, "{answered} calls were answered");
    one.1.abort();
    two.1.abort();
}

#[tokio::test]
async fn names_are_followed() {
    let (one, two) = (Server::start("127.0.0.1:0").await, Server::start("127.0.0.1:0").await);
    let (pool, book) = pool(&[one.address]);
    calls(&pool, 10).await;
    *book.0.lock().unwrap() = vec![two.address];
    one.kill().await;
    // Losing a connection is a reason to look the name up.
    let moved = async { while call(&pool).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), moved).await.expect("it moves in time");
    calls(&pool, 10).await;
    assert!(two.answered() >= 10);
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_forgotten_when_somebody_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (pool, book) = pool(&[address]);
    for _ in 0..5 {
        let error = call(&pool).await.unwrap_err();
        assert!(error.is::<Unreachable>() && error.to_string().contains("service:50051"), "{error}");
    }
    let _server = Server::start(&address.to_string()).await;
    calls(&pool, 1).await;

    book.0.lock().unwrap().clear();
    let nameless = Pool::new("http://service:50051", book, None).unwrap();
    let error = call(&nameless).await.unwrap_err();
    assert!(error.to_string().contains("no such name"), "{error}");
}
