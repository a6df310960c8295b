//! A model provider on loopback that speaks the OpenAI chat wire format and does exactly what a test scripts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// One thing that the provider does while it answers.
#[derive(Clone)]
pub enum Step {
    /// Sends a text delta.
    Text(String),
    /// Sends a reasoning delta.
    Reasoning(String),
    /// Sends a whole tool call: name and arguments.
    Call(String, Value),
    /// Waits.
    Pause(Duration),
    /// Waits until the test adds a permit.
    Gate(Arc<Semaphore>),
    /// Answers with this HTTP status instead of a stream; only as the first step.
    Refuse(u16, Value),
    /// Breaks the connection off.
    Cut,
}

type Script = Arc<dyn Fn(&Value) -> Vec<Step> + Send + Sync>;
type Embedder = Arc<dyn Fn(&str) -> Vec<f32> + Send + Sync>;

struct Inner {
    script: Script,
    embedder: Mutex<Option<Embedder>>,
    embedded: Mutex<Vec<String>>,
    requests: Mutex<Vec<Value>>,
    keys: Mutex<Vec<String>>,
    open: AtomicUsize,
}

/// The provider; it stops with its runtime.
#[derive(Clone)]
pub struct Provider {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl Provider {
    /// Starts a provider that answers each request by a script made from the request's body.
    pub async fn start(script: impl Fn(&Value) -> Vec<Step> + Send + Sync + 'static) -> anyhow::Result<Self> {
        let inner = Arc::new(Inner {
            script: Arc::new(script),
            embedder: Mutex::default(),
            embedded: Mutex::default(),
            requests: Mutex::default(),
            keys: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/embeddings", post(embed))
            .route("/v1/models", get(models))
            // Images are large.
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, inner })
    }

    /// A provider that answers every request with the same text deltas.
    pub async fn saying(deltas: &[&str]) -> anyhow::Result<Self> {
        let steps: Vec<_> = deltas.iter().map(|d| Step::Text((*d).to_owned())).collect();
        Self::start(move |_| steps.clone()).await
    }

    /// What to configure as the base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it embeds texts so; `None`: it answers 503. Before the first word about it, it does not.
    pub fn embed_with(&self, embedder: Option<fn(&str) -> Vec<f32>>) {
        let embedder = embedder.map(|e| Arc::new(e) as Embedder);
        *self.inner.embedder.lock().unwrap_or_else(PoisonError::into_inner) = embedder;
    }

    /// All texts that it was asked to embed so far.
    pub fn embedded(&self) -> Vec<String> {
        self.inner.embedded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys of all requests so far.
    pub fn keys(&self) -> Vec<String> {
        self.inner.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many streams are open: a client that goes away closes its own.
    pub fn open_streams(&self) -> usize {
        self.inner.open.load(Ordering::SeqCst)
    }
}

async fn models() -> Response {
    axum::Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]})).into_response()
}

async fn embed(State(inner): State<Arc<Inner>>, axum::Json(request): axum::Json<Value>) -> Response {
    let texts: Vec<String> = match &request["input"] {
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect(),
        text => vec![text.as_str().unwrap_or_default().to_owned()],
    };
    inner.embedded.lock().unwrap_or_else(PoisonError::into_inner).extend(texts.iter().cloned());
    let embedder = inner.embedder.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(embedder) = embedder else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let datum = |(index, text): (usize, &String)| json!({"object": "embedding", "index": index, "embedding": embedder(text)});
    let data: Vec<_> = texts.iter().enumerate().map(datum).collect();
    axum::Json(json!({"object": "list", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}})).into_response()
}

async fn complete(State(inner): State<Arc<Inner>>, headers: HeaderMap, axum::Json(request): axum::Json<Value>) -> Response {
    let key = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    inner.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.unwrap_or_default().to_owned());
    inner.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let steps = VecDeque::from((inner.script)(&request));
    if let Some(Step::Refuse(code, body)) = steps.front() {
        let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (code, axum::Json(body.clone())).into_response();
    }
    if request["stream"].as_bool() == Some(true) { stream(inner, steps) } else { whole(steps).await }
}

/// Counts a stream as open until its body is dropped.
struct Open(Arc<Inner>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn stream(inner: Arc<Inner>, steps: VecDeque<Step>) -> Response {
    let (tx, rx) = mpsc::channel::<Result<Bytes, std::io::Error>>(16);
    inner.open.fetch_add(1, Ordering::SeqCst);
    let open = Open(inner);
    tokio::spawn(async move {
        let mut calls = 0;
        for step in steps {
            let delta = match step {
                Step::Text(text) => json!({"content": text}),
                Step::Reasoning(text) => json!({"reasoning_content": text}),
                Step::Call(name, arguments) => {
                    calls += 1;
                    let function = json!({"name": name, "arguments": arguments.to_string()});
                    json!({"tool_calls": [{"index": calls - 1, "id": format!("call_{calls}"), "type": "function", "function": function}]})
                }
                Step::Pause(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Step::Gate(gate) => {
                    if let Ok(permit) = gate.acquire().await {
                        permit.forget();
                    }
                    continue;
                }
                Step::Cut | Step::Refuse(..) => {
                    let _ = tx.send(Err(std::io::Error::other("cut"))).await;
                    return;
                }
            };
            if tx.send(Ok(chunk(&json!({"choices": [{"index": 0, "delta": delta}]})))).await.is_err() {
                return;
            }
        }
        let finish = if calls > 0 { "tool_calls" } else { "stop" };
        let _ = tx.send(Ok(chunk(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})))).await;
        let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
        let _ = tx.send(Ok(chunk(&json!({"choices": [], "usage": usage})))).await;
        let _ = tx.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await;
    });
    let body = ReceiverStream::new(rx).map(move |part| {
        let _open = &open;
        part
    });
    ([("content-type", "text/event-stream")], Body::from_stream(body)).into_response()
}

fn chunk(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

async fn whole(steps: VecDeque<Step>) -> Response {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for step in steps {
        match step {
            Step::Text(t) => text.push_str(&t),
            Step::Call(name, arguments) => {
                let function = json!({"name": name, "arguments": arguments.to_string()});
                calls.push(json!({"id": format!("call_{}", calls.len() + 1), "type": "function", "function": function}));
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Gate(gate) => {
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
            }
            Step::Reasoning(_) | Step::Refuse(..) => {}
            Step::Cut => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    let mut message = json!({"role": "assistant", "content": text});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    axum::Json(json!({"object": "chat.completion", "choices": [choice], "usage": usage})).into_response()
}
