//! Recording and replaying through the service's own door, against a provider on loopback.

use std::path::{Path, PathBuf};

use serde_json::Value;
use slipway_proto::inference as pb;
use slipway_rpc::{Fault, Reason};
use tonic::Code;

use super::files;
use crate::tests::{Suite, prompt, suite};

const KEY: &str = "sk-planted-0123456789";

/// An OpenAI-compatible server that repeats the key that it got, in pieces.
async fn provider() -> String {
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::response::IntoResponse as _;
    let complete = |headers: HeaderMap, axum::Json(body): axum::Json<Value>| async move {
        if body.to_string().contains("refuse") {
            let message = format!("Incorrect API key provided: {KEY}");
            let body = serde_json::json!({"error": {"message": message}});
            return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
        }
        let key = headers[header::AUTHORIZATION].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
        let asked = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        let (one, two) = key.split_at(6);
        let mut events = String::new();
        for text in ["You asked ", &asked, " with ", one, two] {
            let chunk = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
            events.push_str(&format!("data: {chunk}\n\n"));
        }
        events.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
        events.push_str("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n");
        ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
    };
    let router = axum::Router::new().route("/v1/chat/completions", axum::routing::post(complete));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/v1")
}

fn settings(mode: &str, directory: &Path, base_url: &str) -> String {
    format!(
        "[recordings]\nmode = \"{mode}\"\ndirectory = {directory:?}\n\
         [providers.p]\nkind = \"openai\"\nbase_url = \"{base_url}\"\napi_key = \"{KEY}\"\nmax_retries = 0"
    )
}

async fn ask(suite: &mut Suite, model: &str, text: &str) -> Result<pb::Completion, Fault> {
    let request = suite.ctx.request(pb::CompleteRequest { prompt: prompt(model, text) });
    let answer = suite.client.complete(request).await.map_err(|s| Fault::from_status(&s))?;
    Ok(answer.into_inner().completion.unwrap())
}

fn written(directory: &Path) -> Vec<(PathBuf, String)> {
    let read = |p: PathBuf| (p.clone(), std::fs::read_to_string(p).unwrap());
    files(&directory.join("p")).into_iter().map(read).collect()
}

#[tokio::test]
async fn what_was_recorded_is_replayed_without_a_network() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = suite(&settings("record", directory.path(), &provider().await)).await;
    let first = ask(&mut recorder, "p/m", "hello").await.unwrap();
    assert_eq!(first.text, format!("You asked hello with {KEY}"));

    let all = written(directory.path());
    assert_eq!(all.len(), 1);
    let recording: Value = serde_json::from_str(&all[0].1).unwrap();
    assert_eq!(recording["request"]["messages"][0]["text"], "hello");
    assert!(all[0].1.lines().count() > 20, "not readable: {}", all[0].1);

    let mut player = suite(&settings("replay", directory.path(), "http://127.0.0.1:9/v1")).await;
    let again = ask(&mut player, "p/m", "hello").await.unwrap();
    assert_eq!(again.text, "You asked hello with [key]");
    assert_eq!((again.usage, again.finish_reason), (first.usage, first.finish_reason));
    let listed = player.client.list_models(player.ctx.request(pb::ListModelsRequest::default())).await.unwrap().into_inner();
    assert!(listed.models.iter().any(|m| m.id == "p/m"), "{listed:?}");
}

#[tokio::test]
async fn no_secret_lands_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = suite(&settings("record", directory.path(), &provider().await)).await;
    ask(&mut recorder, "p/m", &format!("is {KEY} good?")).await.unwrap();
    let refused = ask(&mut recorder, "p/m", "refuse me").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ProviderAuthFailed);
    let all = written(directory.path());
    assert_eq!(all.len(), 2);
    for (path, text) in &all {
        assert!(!text.contains("planted"), "{}: {text}", path.display());
    }

    // What went without the key is found without it, and a failure is replayed as one.
    let mut player = suite(&settings("replay", directory.path(), "http://127.0.0.1:9/v1")).await;
    assert_eq!(ask(&mut player, "p/m", &format!("is {KEY} good?")).await.unwrap().text, "You asked is [key] good? with [key]");
    assert_eq!(ask(&mut player, "p/m", "refuse me").await.unwrap_err().reason(), Reason::ProviderAuthFailed);
}

#[tokio::test]
async fn a_changed_prompt_misses_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = suite(&settings("record", directory.path(), &provider().await)).await;
    ask(&mut recorder, "p/m", "list the pods of the cluster").await.unwrap();
    ask(&mut recorder, "p/m", "write a poem").await.unwrap();
    let near = files(&directory.path().join("p")).into_iter().find(|p| std::fs::read_to_string(p).unwrap().contains("pods"));

    let mut player = suite(&settings("replay", directory.path(), "http://127.0.0.1:9/v1")).await;
    let missed = ask(&mut player, "p/m", "list the nodes of the cluster").await.unwrap_err();
    assert_eq!((missed.reason(), missed.code()), (Reason::RecordingMissing, Code::FailedPrecondition));
    let name = near.unwrap().file_name().unwrap().to_string_lossy().into_owned();
    for wanted in [name.as_str(), "messages[0].text", "list the pods of the cluster", "list the nodes of the cluster"] {
        assert!(missed.message().contains(wanted), "{wanted}: {}", missed.message());
    }
    let other = ask(&mut player, "p/other", "write a poem").await.unwrap_err();
    assert!(other.message().contains("model: recorded \"m\", asked \"other\""), "{}", other.message());
}

#[tokio::test]
async fn a_script_plays_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script.json");
    let script = r#"{"answers": [
        {"when": "weather", "again": true, "events": [{"tool_call": {"id": "c1", "name": "weather", "arguments": "{}"}}]},
        {"events": [{"text": "one "}, {"at_ms": 3, "text": "two"}]},
        {"when": "fail", "events": [{"failed": {"kind": "content_refused", "message": "not that"}}]}
    ]}"#;
    std::fs::write(&path, script).unwrap();
    let settings =
        format!("default_model = \"play/script\"\n[providers.play]\nkind = \"script\"\nscript = {path:?}\nmax_retries = 0");
    let mut suite = suite(&settings).await;
    assert_eq!(ask(&mut suite, "", "fail?").await.unwrap().text, "one two");
    for _ in 0..2 {
        let called = ask(&mut suite, "", "the weather").await.unwrap();
        assert_eq!((called.tool_calls[0].name.as_str(), called.finish_reason()), ("weather", pb::FinishReason::ToolCalls));
    }
    assert_eq!(ask(&mut suite, "", "please fail").await.unwrap_err().reason(), Reason::ContentRefused);
    let empty = ask(&mut suite, "", "anything else").await.unwrap_err();
    assert_eq!(empty.reason(), Reason::RecordingMissing);
    assert!(empty.message().contains("\"anything else\""), "{}", empty.message());
}

#[tokio::test]
async fn a_script_may_be_the_recordings_of_another_provider() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = suite(&settings("record", directory.path(), &provider().await)).await;
    ask(&mut recorder, "p/m", "hello").await.unwrap();
    let recordings = directory.path().join("p");
    let mut player = suite(&format!("[providers.tape]\nkind = \"script\"\nscript = {recordings:?}")).await;
    assert_eq!(ask(&mut player, "tape/m", "hello").await.unwrap().text, "You asked hello with [key]");
    assert_eq!(ask(&mut player, "tape/m", "good bye").await.unwrap_err().reason(), Reason::RecordingMissing);
}
