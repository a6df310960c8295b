//! The provider against an upstream that does what upstreams do: odd chunks, cuts, silence, refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::model::{Completion, Delta, Finish, Message, Role, ToolCall, Usage};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the upstream does with a request.
#[derive(Clone)]
enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Keeps the connection open and says nothing.
    Hang,
}

/// An upstream that plays one script per request, the last one again and again.
struct Upstream {
    base_url: String,
    requests: Arc<AtomicUsize>,
    bodies: mpsc::Receiver<String>,
    gone: mpsc::Receiver<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Upstream {
    async fn start(scripts: Vec<Vec<Act>>) -> Self {
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

    fn provider(&self) -> OpenAi {
        let settings = ProviderSettings {
            base_url: self.base_url.clone(),
            api_key: Some("sk-test-key".into()),
            headers_timeout_ms: 300,
            idle_timeout_ms: 300,
            ..ProviderSettings::default()
        };
        provider(&settings)
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn provider(settings: &ProviderSettings) -> OpenAi {
    // The first test to come installs it for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    OpenAi::new("fake", settings).unwrap()
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

async fn read_request(socket: &mut TcpStream) -> Option<String> {
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

fn head(status: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n").into_bytes()
}

fn stream(body: &str) -> Vec<Act> {
    vec![Act::Send(head("200 OK", "content-type: text/event-stream\r\n")), Act::Send(body.as_bytes().to_vec())]
}

fn refusal(status: &str, more: &str, body: &str) -> Vec<Act> {
    let head = head(status, &format!("content-type: application/json\r\ncontent-length: {}\r\n{more}", body.len()));
    vec![Act::Send(head), Act::Send(body.as_bytes().to_vec())]
}

fn request() -> Request {
    let message = Message::new(Role::User, "hi");
    Request { model: "some/model".into(), messages: vec![message], ..Request::default() }
}

async fn complete(provider: &OpenAi) -> Result<Completion, ProviderError> {
    timeout(PATIENCE, crate::provider::collect(provider.stream(request()))).await.expect("the call hangs")
}

async fn against(script: Vec<Act>) -> Result<Completion, ProviderError> {
    let upstream = Upstream::start(vec![script]).await;
    complete(&upstream.provider()).await
}

// As OpenAI and others send it: a role first, reasoning, text, a refusal of none, usage last, comments in between.
const RECORDED: &str = concat!(
    ": OPENROUTER PROCESSING\n\n",
    r#"data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"reasoning_content":"think "},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"reasoning":"hard","reasoning_content":null},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"content":"Hé\n\"llo\" 😀"},"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"content":" there"},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
    "\n\ndata: [DONE]\n\n",
);

#[tokio::test]
async fn a_recorded_stream_is_read_whole() {
    let mut upstream = Upstream::start(vec![stream(RECORDED)]).await;
    let whole = complete(&upstream.provider()).await.unwrap();
    assert_eq!(whole.text, "Hé\n\"llo\" 😀 there");
    assert_eq!(whole.reasoning, "think hard");
    assert_eq!(whole.finish, Finish::Stop);
    assert_eq!(whole.usage, Usage { input: 11, output: 7, cached_input: 4, reasoning: 3, ..Usage::default() });
    let sent = upstream.bodies.recv().await.unwrap();
    assert!(sent.starts_with("POST /v1/chat/completions HTTP/1.1"));
    assert!(sent.to_lowercase().contains("authorization: bearer sk-test-key"));
    assert!(sent.contains(r#""model":"some/model""#) && sent.contains(r#""include_usage":true"#));
}

#[tokio::test]
async fn every_byte_in_a_packet_of_its_own() {
    let mut script = vec![Act::Send(head("200 OK", "content-type: text/event-stream\r\n"))];
    script.extend(RECORDED.bytes().map(|b| Act::Send(vec![b])));
    assert_eq!(against(script).await.unwrap().text, "Hé\n\"llo\" 😀 there");
}

/// Reads bytes as a body that ends there, without a network.
fn read_cut(body: &[u8]) -> (String, Result<Delta, ProviderError>) {
    let mut reader = chunk::Reader::default();
    let mut decoder = sse::Decoder::default();
    let mut queue = std::collections::VecDeque::new();
    enum Broken {
        TooLarge,
        Provider(ProviderError),
    }
    impl From<sse::TooLarge> for Broken {
        fn from(_: sse::TooLarge) -> Self {
            Self::TooLarge
        }
    }
    let read = decoder
        .feed(body, |data| reader.event("fake", None, data, &mut queue).map_err(Broken::Provider))
        .and_then(|()| decoder.finish(|data| reader.event("fake", None, data, &mut queue).map_err(Broken::Provider)));
    let text = queue.iter().map(|d| if let Delta::Text(t) = d { t.as_str() } else { "" }).collect();
    let end = match read {
        Ok(()) => reader.end("fake", 5),
        Err(Broken::Provider(error)) => Err(error),
        Err(Broken::TooLarge) => Err(ProviderError::new(Kind::Server, "fake", "too large")),
    };
    (text, end)
}

#[test]
fn a_cut_after_any_byte_ends_in_an_error_or_cleanly() {
    let bytes = RECORDED.as_bytes();
    let finished = RECORDED.find(r#""finish_reason":"stop"}]}"#).unwrap() + r#""finish_reason":"stop"}]}"#.len();
    for cut in 0..=bytes.len() {
        let (text, end) = read_cut(&bytes[..cut]);
        assert!("Hé\n\"llo\" 😀 there".starts_with(&text), "cut at {cut}: {text:?}");
        match end {
            Ok(Delta::Completed { finish, usage, .. }) => {
                assert!(cut >= finished, "cut at {cut} passes for a whole answer");
                assert_eq!(finish, Finish::Stop);
                assert!(usage.estimated || usage.output == 7);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(matches!(error.kind, Kind::Network | Kind::Server), "cut at {cut}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_cut_connection_ends_in_a_typed_error() {
    let chunked = |body: &str, whole: bool| {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        bytes.extend(format!("{:x}\r\n{body}\r\n{}", body.len(), if whole { "0\r\n\r\n" } else { "" }).bytes());
        vec![Act::Send(bytes)]
    };
    for cut in [1, RECORDED.len() / 3, RECORDED.len() / 2] {
        for script in [stream(&RECORDED[..cut]), chunked(&RECORDED[..cut], false)] {
            let upstream = Upstream::start(vec![script]).await;
            let mut provider = upstream.provider();
            Arc::get_mut(&mut provider.at).unwrap().max_retries = 0;
            let error = complete(&provider).await.unwrap_err();
            assert!(matches!(error.kind, Kind::Network | Kind::Server), "{error:?}");
        }
    }
    assert!(against(chunked(RECORDED, true)).await.is_ok());
    // All that matters had come: a missing end of the body changes nothing.
    assert!(against(chunked(RECORDED, false)).await.is_ok());
}

#[tokio::test]
async fn parallel_tool_calls_are_put_together() {
    let body = concat!(
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"view","arguments":""}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"done","arguments":"{}"}},{"index":0,"function":{"arguments":"\"x\"}"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
        "\n\ndata: [DONE]\n\n",
    );
    let whole = against(stream(body)).await.unwrap();
    let call = |id: &str, name: &str, arguments: &str| ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() };
    assert_eq!(whole.tool_calls, [call("a", "view", r#"{"path":"x"}"#), call("b", "done", "{}")]);
    assert_eq!(whole.finish, Finish::ToolCalls);
    assert!(whole.usage.estimated && whole.usage.input > 0 && whole.usage.output > 0);
}

#[tokio::test]
async fn careless_tool_calls_are_put_together_too() {
    // No index and no id; the same index for every call; "stop" although tools were called.
    let body = concat!(
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"h"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"[1]"}}]},"finish_reason":"stop"}]}"#,
        "\n\n",
    );
    let whole = against(stream(body)).await.unwrap();
    let names: Vec<_> = whole.tool_calls.iter().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(names, [("a", "f", "{}"), ("b", "g", "{}"), ("c", "h", "[1]")]);
    assert_eq!(whole.finish, Finish::ToolCalls);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_taken() {
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let whole = against(refusal("200 OK", "", body)).await.unwrap();
    assert_eq!((whole.text.as_str(), whole.finish, whole.usage.output), ("whole", Finish::Length, 2));
}

#[tokio::test]
async fn errors_inside_a_stream_keep_what_was_said() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"so far\"}}]}\n\ndata: {\"error\":{\"message\":\"overloaded\",\"code\":502}}\n\n";
    let upstream = Upstream::start(vec![stream(body)]).await;
    let deltas: Vec<_> = timeout(PATIENCE, upstream.provider().stream(request()).collect()).await.unwrap();
    assert_eq!(deltas[0].as_ref().unwrap(), &Delta::Started);
    assert_eq!(deltas[1].as_ref().unwrap(), &Delta::Text("so far".into()));
    assert_eq!(deltas[2].as_ref().unwrap_err().kind, Kind::Server);
    assert_eq!(deltas.len(), 3);
    // Something was said: no second attempt.
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_passes_is_tried_again_before_the_first_token() {
    let scripts = vec![
        refusal("503 Service Unavailable", "", "busy"),
        stream("data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n"),
        stream(RECORDED),
    ];
    let upstream = Upstream::start(scripts).await;
    let deltas: Vec<_> = timeout(PATIENCE, upstream.provider().stream(request()).collect()).await.unwrap();
    assert_eq!(upstream.count(), 3);
    let started = deltas.iter().filter(|d| matches!(d, Ok(Delta::Started))).count();
    assert_eq!(started, 1);
    assert!(matches!(deltas.last(), Some(Ok(Delta::Completed { .. }))));
}

#[tokio::test]
async fn what_does_not_pass_is_not_tried_again() {
    for (status, kind) in
        [("401 Unauthorized", Kind::Auth), ("400 Bad Request", Kind::BadRequest), ("402 Payment Required", Kind::CreditExhausted)]
    {
        let upstream = Upstream::start(vec![refusal(status, "", "{}")]).await;
        assert_eq!(complete(&upstream.provider()).await.unwrap_err().kind, kind);
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_long_retry_after_is_the_callers() {
    let upstream = Upstream::start(vec![refusal("429 Too Many Requests", "retry-after: 120\r\n", "{}")]).await;
    let error = complete(&upstream.provider()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::RateLimited, Some(Duration::from_secs(120))));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn silence_has_its_limits() {
    assert_eq!(against(vec![Act::Hang]).await.unwrap_err().kind, Kind::TimeoutBeforeAnswer);
    let begun = [stream("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"), vec![Act::Hang]].concat();
    assert_eq!(against(begun).await.unwrap_err().kind, Kind::TimeoutBetweenDeltas);
    // Comments keep an answer alive.
    let mut slow = stream("");
    for _ in 0..6 {
        slow.extend([Act::Wait(Duration::from_millis(150)), Act::Send(b": still here\n\n".to_vec())]);
    }
    slow.push(Act::Send(RECORDED.as_bytes().to_vec()));
    assert!(against(slow).await.is_ok());
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let provider = provider(&ProviderSettings { base_url, max_retries: 1, ..ProviderSettings::default() });
    let error = complete(&provider).await.unwrap_err();
    assert_eq!(error.kind, Kind::Network);
    assert!(error.message.contains("cannot be reached"));
}

#[tokio::test]
async fn nonsense_is_an_error() {
    for body in [
        "data: {not json}\n\n",
        "<html>hello</html>",
        "data: 7\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\u{0}\"}}]}\n\n",
    ] {
        let error = against([stream(body)].concat()).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Server | Kind::Network), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn dropping_the_stream_drops_the_connection() {
    let begun = [stream("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"), vec![Act::Hang]].concat();
    let mut upstream = Upstream::start(vec![begun]).await;
    let mut deltas = upstream.provider().stream(request());
    for _ in 0..2 {
        deltas.next().await.unwrap().unwrap();
    }
    drop(deltas);
    // Sooner than the idle limit would end it.
    timeout(Duration::from_millis(250), upstream.gone.recv()).await.expect("the upstream still holds the connection");
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = connections.clone();
    let serving = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tasks.spawn(async move {
                while read_request(&mut socket).await.is_some() {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                    let _ = socket.write_all(format!("{head}{:x}\r\n{RECORDED}\r\n", RECORDED.len()).as_bytes()).await;
                    // The end of the body in a packet of its own, a little later.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let _ = socket.write_all(b"0\r\n\r\n").await;
                }
            });
        }
    });
    let provider = provider(&ProviderSettings { base_url, ..ProviderSettings::default() });
    for _ in 0..5 {
        complete(&provider).await.unwrap();
    }
    // A connection goes back to the pool by itself, so the next call may come too early for it once.
    assert!(connections.load(Ordering::SeqCst) < 4);
    serving.abort();
}

#[tokio::test]
async fn models_are_listed_and_remembered() {
    let body = r#"{"data":[{"id":"gpt-4o"},{"id":"text-embedding-3-small"},{"id":"acme/x","name":"Acme X","context_length":1234,"supported_parameters":["temperature"]}]}"#;
    let mut upstream = Upstream::start(vec![refusal("200 OK", "", body)]).await;
    let mut provider = upstream.provider();
    provider.configured = vec!["mine".into(), "gpt-4o".into()];
    let models = provider.models().await;
    let names: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.context_window, m.tools)).collect();
    assert_eq!(names, [("gpt-4o", 0, true), ("acme/x", 1234, false), ("mine", 0, true)]);
    assert_eq!(provider.models().await.len(), 3);
    assert_eq!(upstream.count(), 1);
    assert!(upstream.bodies.recv().await.unwrap().starts_with("GET /v1/models "));
}

#[tokio::test]
async fn a_list_that_fails_leaves_what_is_configured() {
    let upstream = Upstream::start(vec![refusal("500 Internal Server Error", "", "{}")]).await;
    let mut provider = upstream.provider();
    provider.configured = vec!["mine".into()];
    assert_eq!(provider.models().await.len(), 1);
    assert_eq!(provider.models().await.len(), 1);
    assert_eq!(upstream.count(), 1);
}
