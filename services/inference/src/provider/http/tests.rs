//! A call over a real connection, whatever the protocol: here Chat Completions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::testing::{Act, PATIENCE, Upstream, against, complete, head, opened, read_request, refusal, request, stream};
use crate::error::Kind;
use crate::model::{Delta, Finish, ToolCall, Usage};
use crate::settings::ProviderSettings;

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
    let whole = complete(&upstream.provider("fake")).await.unwrap();
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
            let provider = opened("fake", &upstream.settings());
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
    let deltas: Vec<_> = timeout(PATIENCE, upstream.provider("fake").stream(&request()).collect()).await.unwrap();
    assert_eq!(deltas[0].as_ref().unwrap(), &Delta::Started);
    assert_eq!(deltas[1].as_ref().unwrap(), &Delta::Text("so far".into()));
    assert_eq!(deltas[2].as_ref().unwrap_err().kind, Kind::Overloaded);
    assert_eq!(deltas.len(), 3);
    // Something was said: no second attempt.
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_is_counted_early_is_told_early() {
    let counted = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1}}}"#;
    let overloaded = r#"data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let upstream = Upstream::start(vec![stream(&format!("{counted}\n\n{overloaded}\n\n"))]).await;
    let provider = opened("anthropic", &upstream.settings());
    let mut deltas = provider.stream(&request());
    assert_eq!(deltas.next().await.unwrap().unwrap(), Delta::Started);
    let usage = Usage { input: 25, output: 1, ..Usage::default() };
    assert_eq!(deltas.next().await.unwrap().unwrap(), Delta::Usage(usage));
    let error = deltas.next().await.unwrap().unwrap_err();
    assert_eq!((error.message.as_str(), error.usage.as_deref()), ("Overloaded", Some(&usage)));
    assert!(deltas.next().await.is_none());
}

#[tokio::test]
async fn nothing_is_tried_twice_here() {
    let refused = |status| refusal(status, "", "{}");
    let failed = stream("data: {\"error\":{\"message\":\"x\",\"code\":502}}\n\n");
    for (script, kind) in [
        (refused("401 Unauthorized"), Kind::Auth),
        (refused("403 Forbidden"), Kind::Permission),
        (refused("400 Bad Request"), Kind::BadRequest),
        (refused("402 Payment Required"), Kind::CreditExhausted),
        (refused("500 Internal Server Error"), Kind::Server),
        (refused("529 Overloaded"), Kind::Overloaded),
        (failed, Kind::Server),
    ] {
        let upstream = Upstream::start(vec![script, stream(RECORDED)]).await;
        assert_eq!(complete(&upstream.provider("fake")).await.unwrap_err().kind, kind);
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_long_retry_after_is_the_callers() {
    let upstream = Upstream::start(vec![refusal("429 Too Many Requests", "retry-after: 120\r\n", "{}")]).await;
    let error = complete(&upstream.provider("fake")).await.unwrap_err();
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
    let provider = opened("fake", &ProviderSettings { base_url, ..ProviderSettings::default() });
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
    let mut deltas = upstream.provider("fake").stream(&request());
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
    let provider = opened("fake", &ProviderSettings { base_url, ..ProviderSettings::default() });
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
    let models = vec!["mine".into(), "gpt-4o".into()];
    let provider = opened("fake", &ProviderSettings { models, ..upstream.settings() });
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
    let provider = opened("fake", &ProviderSettings { models: vec!["mine".into()], ..upstream.settings() });
    assert_eq!(provider.models().await.len(), 1);
    assert_eq!(provider.models().await.len(), 1);
    assert_eq!(upstream.count(), 1);
}
