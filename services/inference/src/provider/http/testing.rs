//! An upstream that does what upstreams do: odd chunks, cuts, silence, refusals. For tests of whatever calls one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Endpoint;
use crate::error::ProviderError;
use crate::model::{Completion, Message, Request, Role};
use crate::provider::{self, Provider};
use crate::settings::ProviderSettings;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the upstream does with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes some bytes.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Keeps the connection open and says nothing.
    Hang,
}

/// An upstream that plays one script per request, the last one again and again.
pub(crate) struct Upstream {
    base_url: String,
    requests: Arc<AtomicUsize>,
    /// The requests as they came.
    pub(crate) bodies: mpsc::Receiver<String>,
    /// A word for each connection that is over.
    pub(crate) gone: mpsc::Receiver<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Upstream {
    /// Starts it.
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (seen, bodies) = mpsc::channel(64);
        let (left, gone) = mpsc::channel(64);
        let count = requests.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (scripts, count, seen, left) = (scripts.clone(), count.clone(), seen.clone(), left.clone());
                connections.spawn(async move {
                    play(socket, &scripts, &count, &seen).await;
                    let _ = left.try_send(());
                });
            }
        });
        Self { base_url, requests, bodies, gone, serving }
    }

    /// Settings of a provider that is this upstream.
    pub(crate) fn settings(&self) -> ProviderSettings {
        ProviderSettings {
            base_url: self.base_url.clone(),
            api_key: Some("sk-test-key".into()),
            headers_timeout_ms: 300,
            idle_timeout_ms: 300,
            ..ProviderSettings::default()
        }
    }

    /// A provider that is this upstream, with the protocol of its name.
    pub(crate) fn provider(&self, name: &str) -> Arc<dyn Provider> {
        opened(name, &self.settings())
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A provider with the protocol of its name, else Chat Completions.
pub(crate) fn opened(name: &str, settings: &ProviderSettings) -> Arc<dyn Provider> {
    install_tls();
    provider::open_http(name, settings).unwrap().unwrap()
}

/// A provider's end of a call, with this key.
pub(crate) fn endpoint(key: &str) -> Endpoint {
    install_tls();
    let settings = ProviderSettings {
        base_url: "http://127.0.0.1:9/v1".into(),
        api_key: (!key.is_empty()).then(|| key.into()),
        ..ProviderSettings::default()
    };
    Endpoint::new("p", &settings, HeaderMap::new()).unwrap()
}

// The first test to come installs it for all.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a request and plays a script; then waits until the other side goes when the script says so.
async fn play(mut socket: TcpStream, scripts: &[Vec<Act>], count: &AtomicUsize, seen: &mpsc::Sender<String>) {
    let Some(request) = read_request(&mut socket).await else { return };
    let n = count.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1);
    let _ = seen.try_send(request);
    for act in &scripts[n] {
        match act {
            Act::Send(bytes) => {
                if socket.write_all(bytes).await.is_err() {
                    return;
                }
                let _ = socket.flush().await;
            }
            Act::Wait(time) => tokio::time::sleep(*time).await,
            Act::Hang => {
                let mut rest = [0; 64];
                while socket.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                return;
            }
        }
    }
    let _ = socket.shutdown().await;
}

/// Reads one request whole.
pub(crate) async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = socket.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(|v| v.trim().parse::<usize>()));
        if body.len() >= length.and_then(Result::ok).unwrap_or(0) {
            return Some(text);
        }
    }
}

/// The head of a response.
pub(crate) fn head(status: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n").into_bytes()
}

/// A streamed answer that the connection's end ends.
pub(crate) fn stream(body: &str) -> Vec<Act> {
    vec![Act::Send(head("200 OK", "content-type: text/event-stream\r\n")), Act::Send(body.as_bytes().to_vec())]
}

/// A whole JSON response.
pub(crate) fn refusal(status: &str, more: &str, body: &str) -> Vec<Act> {
    let head = head(status, &format!("content-type: application/json\r\ncontent-length: {}\r\n{more}", body.len()));
    vec![Act::Send(head), Act::Send(body.as_bytes().to_vec())]
}

/// A small request.
pub(crate) fn request() -> Request {
    let message = Message::new(Role::User, "hi");
    Request { model: "some/model".into(), messages: vec![message], ..Request::default() }
}

/// The whole answer to it.
pub(crate) async fn complete(provider: &Arc<dyn Provider>) -> Result<Completion, ProviderError> {
    timeout(PATIENCE, provider::collect(provider.stream(&request()))).await.expect("the call hangs")
}

/// The whole answer of an upstream that plays a script.
pub(crate) async fn against(script: Vec<Act>) -> Result<Completion, ProviderError> {
    let upstream = Upstream::start(vec![script]).await;
    complete(&upstream.provider("fake")).await
}
