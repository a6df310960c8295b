//! A TCP proxy in front of a server: it can be cut, paused and slowed down while the server runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How much is on its way in each direction at most.
const BUFFER: usize = 32 * 1024;

/// The proxy; it closes all connections when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// Connections are let in.
    open: bool,
    /// Bytes are passed on.
    flowing: bool,
    /// How long each piece is kept back.
    delay: Duration,
    /// Connections of an earlier age are closed.
    age: u64,
}

impl Proxy {
    /// A proxy for a server whose address is told later.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = State { open: true, flowing: true, delay: Duration::ZERO, age: 0 };
        let shared = Arc::new(Shared { target: Mutex::new(None), state: watch::Sender::new(state) });
        let accepting = runtime()?.spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// A proxy for one server.
    pub fn to(target: SocketAddr) -> anyhow::Result<Self> {
        let proxy = Self::start()?;
        proxy.aim(Some(target));
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server is from now on; `None`: it is away.
    pub fn aim(&self, target: Option<SocketAddr>) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Breaks every connection off; new ones are let in.
    pub fn sever(&self) {
        self.shared.state.send_modify(|state| state.age += 1);
    }

    /// Breaks every connection off and lets none in until [`Proxy::mend`].
    pub fn cut(&self) {
        self.shared.state.send_modify(|state| {
            state.age += 1;
            state.open = false;
        });
    }

    /// Keeps every byte back until [`Proxy::mend`]; the connections stay open, as those to a frozen machine do.
    pub fn pause(&self) {
        self.shared.state.send_modify(|state| state.flowing = false);
    }

    /// Keeps every piece back for a while.
    pub fn delay(&self, delay: Duration) {
        self.shared.state.send_modify(|state| state.delay = delay);
    }

    /// Ends a cut, a pause and a delay.
    pub fn mend(&self) {
        self.shared.state.send_modify(|state| {
            *state = State { open: true, flowing: true, delay: Duration::ZERO, age: state.age };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A thread of their own: a test that waits for a child process blocks its runtime, and the child may call through a proxy.
fn runtime() -> anyhow::Result<&'static Runtime> {
    static RUNTIME: Mutex<Option<&'static Runtime>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = *runtime {
        return Ok(runtime);
    }
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("proxies").enable_all().build()?;
    Ok(runtime.insert(Box::leak(Box::new(built))))
}

/// Dropping this future drops the set, and with it every connection.
async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    // Fails only outside a runtime.
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                if shared.state.borrow().open {
                    connections.spawn(serve(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    let age = state.borrow().age;
    let carried = async {
        let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target else { return };
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let there = carry(from_client, to_server, shared.state.subscribe());
        let back = carry(from_server, to_client, shared.state.subscribe());
        // An error ends both directions, an end of one only that one.
        let _ = tokio::try_join!(there, back);
    };
    tokio::select! {
        () = carried => {}
        _ = state.wait_for(|state| state.age != age) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        let delay = match state.wait_for(|state| state.flowing).await {
            Ok(state) => state.delay,
            Err(_) => return Ok(()),
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says its number, then repeats what it hears.
    async fn echo(number: u8) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(&[number]).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn greeting(proxy: &Proxy) -> Option<(TcpStream, u8)> {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let number = stream.read_u8().await.ok()?;
        Some((stream, number))
    }

    #[tokio::test]
    async fn a_server_may_move_and_be_away() {
        let proxy = Proxy::start().unwrap();
        assert!(greeting(&proxy).await.is_none(), "nobody is there");
        for number in [1, 2] {
            proxy.aim(Some(echo(number).await));
            assert_eq!(greeting(&proxy).await.unwrap().1, number);
        }
        proxy.aim(None);
        assert!(greeting(&proxy).await.is_none());
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_a_pause_keeps_them() {
        let proxy = Proxy::to(echo(1).await).unwrap();
        let (mut stream, _) = greeting(&proxy).await.unwrap();
        proxy.pause();
        stream.write_all(b"x").await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(silent.is_err(), "nothing comes through");
        proxy.mend();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        proxy.cut();
        assert!(stream.read_u8().await.is_err());
        assert!(greeting(&proxy).await.is_none());
        proxy.mend();
        assert!(greeting(&proxy).await.is_some());
    }
}
