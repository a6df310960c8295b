//! Kept and shared answers through the service's own door, against a provider that counts its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse as _;
use futures::StreamExt as _;
use serde_json::{Value, json};
use slipway_proto::inference as pb;
use slipway_proto::inference::stream_complete_response::Event;
use slipway_rpc::{Ctx, ProjectId, UserId};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::tests::{Suite, prompt, suite};

mod semantic;

/// A provider whose every answer is another one. Each waits for a permit after its first word.
struct Provider {
    calls: AtomicUsize,
    gate: Semaphore,
}

impl Provider {
    async fn start(permits: usize) -> (Arc<Self>, String) {
        let provider = Arc::new(Self { calls: AtomicUsize::new(0), gate: Semaphore::new(permits) });
        let inner = provider.clone();
        let complete = move |axum::Json(body): axum::Json<Value>| async move {
            let call = inner.calls.fetch_add(1, Ordering::SeqCst) + 1;
            if body.to_string().contains("fail") {
                let error = json!({"error": {"message": "no"}});
                return (http::StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
            }
            let event = |value: Value| Ok::<_, std::io::Error>(format!("data: {value}\n\n"));
            let text = move |text: String| event(json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
            let rest = async move {
                inner.gate.acquire().await.unwrap().forget();
                let stop = event(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
                let usage = event(json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}));
                futures::stream::iter([text(call.to_string()), stop, usage, Ok("data: [DONE]\n\n".to_owned())])
            };
            let events = futures::stream::iter([text("call ".into())]).chain(futures::stream::once(rest).flatten());
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(events)).into_response()
        };
        let router = axum::Router::new().route("/v1/chat/completions", axum::routing::post(complete));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, format!("[providers.p]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmax_retries = 0\n"))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

const KEEP: &str = "[cache]\nttl_seconds = 60\n";

fn asking(text: &str, edit: impl FnOnce(&mut pb::Prompt)) -> pb::Prompt {
    let mut prompt = prompt("p/m", text).unwrap();
    edit(&mut prompt);
    prompt
}

async fn ask(suite: &Suite, ctx: &Ctx, prompt: pb::Prompt) -> pb::Completion {
    let request = ctx.request(pb::CompleteRequest { prompt: Some(prompt) });
    suite.client.clone().complete(request).await.unwrap().into_inner().completion.unwrap()
}

async fn stream(suite: &Suite, prompt: pb::Prompt) -> tonic::Streaming<pb::StreamCompleteResponse> {
    let request = suite.ctx.request(pb::StreamCompleteRequest { prompt: Some(prompt) });
    suite.client.clone().stream_complete(request).await.unwrap().into_inner()
}

async fn text(events: tonic::Streaming<pb::StreamCompleteResponse>) -> (String, Option<pb::CacheHit>) {
    let (mut whole, mut hit) = (String::new(), None);
    let events: Vec<_> = events.map(|e| e.unwrap().event.unwrap()).collect().await;
    assert!(matches!(&events[0], Event::Started(s) if s.model == "p/m"), "{events:?}");
    for event in events {
        match event {
            Event::TextDelta(text) => whole.push_str(&text),
            Event::Completed(end) => hit = end.cache_hit,
            _ => {}
        }
    }
    (whole, hit)
}

async fn stats(suite: &Suite) -> pb::GetCacheStatsResponse {
    let request = suite.ctx.request(pb::GetCacheStatsRequest {});
    suite.cache.clone().get_cache_stats(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_same_question_is_answered_without_a_call() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{KEEP}{settings}")).await;
    let first = ask(&suite, &suite.ctx, asking("hi", |_| {})).await;
    assert_eq!((first.text.as_str(), first.cache_hit), ("call 1", None));
    let again = ask(&suite, &suite.ctx, asking("hi", |_| {})).await;
    let told = again.usage.clone().unwrap();
    // The same tokens as before, for nothing.
    assert_eq!((told.cost_micros, told.price_version.as_str()), (0, "cache"));
    let before = pb::Usage { price_version: told.price_version.clone(), ..first.usage.unwrap() };
    assert_eq!((again.text.as_str(), told), ("call 1", before));
    assert_eq!(again.cache_hit.unwrap().kind(), pb::CacheHitKind::Exact);
    assert!(again.attempts.is_empty() && again.model == "p/m", "{again:?}");
    let (streamed, hit) = text(stream(&suite, asking("hi", |_| {})).await).await;
    assert_eq!((streamed.as_str(), hit.unwrap().kind()), ("call 1", pb::CacheHitKind::Exact));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn another_question_or_project_is_another_call() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{KEEP}{settings}")).await;
    ask(&suite, &suite.ctx, asking("hi", |_| {})).await;
    let tool = pb::Tool { name: "t".into(), description: String::new(), parameters_json: "{}".into() };
    let system = pb::Message { role: pb::Role::System.into(), text: "be brief".into(), ..Default::default() };
    let others = [
        asking("hello", |_| {}),
        asking("hi", |p| p.model = "p/n".into()),
        asking("hi", |p| p.tools.push(tool)),
        asking("hi", |p| p.messages.insert(0, system)),
        asking("hi", |p| p.max_output_tokens = 7),
        asking("hi", |p| p.temperature = Some(0.0)),
    ];
    for (n, other) in others.into_iter().enumerate() {
        assert_eq!(ask(&suite, &suite.ctx, other).await.cache_hit, None, "{n}");
        assert_eq!(provider.calls(), n + 2);
    }
    let elsewhere = Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "");
    assert_eq!(ask(&suite, &elsewhere, asking("hi", |_| {})).await.text, "call 8");
}

#[tokio::test]
async fn callers_and_their_temperature_decide() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{KEEP}{settings}")).await;
    let with = |policy: pb::CachePolicy| asking("hi", |p| p.cache = policy.into());
    assert_eq!(ask(&suite, &suite.ctx, with(pb::CachePolicy::Bypass)).await.text, "call 1");
    assert_eq!(ask(&suite, &suite.ctx, with(pb::CachePolicy::Default)).await.text, "call 2", "a bypass keeps nothing");
    assert_eq!(ask(&suite, &suite.ctx, with(pb::CachePolicy::Refresh)).await.text, "call 3");
    assert_eq!(ask(&suite, &suite.ctx, with(pb::CachePolicy::Default)).await.text, "call 3", "a refresh replaces");
    for _ in 0..2 {
        let warm = asking("hi", |p| p.temperature = Some(0.7));
        assert_eq!(ask(&suite, &suite.ctx, warm).await.cache_hit, None);
    }
    assert_eq!(provider.calls(), 5);
}

#[tokio::test]
async fn nothing_is_kept_or_shared_unless_the_settings_say_so() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&settings).await;
    for n in 1..=2 {
        assert_eq!(ask(&suite, &suite.ctx, asking("hi", |_| {})).await.text, format!("call {n}"));
    }
    assert_eq!((provider.calls(), stats(&suite).await), (2, pb::GetCacheStatsResponse::default()));
}

#[tokio::test]
async fn the_same_question_at_the_same_time_is_one_call_that_outlives_its_first_caller() {
    let (provider, settings) = Provider::start(0).await;
    let suite = suite(&format!("[cache]\nshare_in_flight = true\n{settings}")).await;
    let mut leader = stream(&suite, asking("hi", |_| {})).await;
    for _ in 0..2 {
        leader.next().await.unwrap().unwrap();
    }
    let mut followers = Vec::new();
    for _ in 0..20 {
        followers.push(stream(&suite, asking("hi", |_| {})).await);
    }
    drop(leader);
    provider.gate.add_permits(1);
    for follower in followers {
        let (text, hit) = text(follower).await;
        assert_eq!((text.as_str(), hit.unwrap().kind()), ("call 1", pb::CacheHitKind::Shared));
    }
    assert_eq!(provider.calls(), 1);
    provider.gate.add_permits(1);
    assert_eq!(ask(&suite, &suite.ctx, asking("hi", |_| {})).await.text, "call 2", "nothing is kept");
}

#[tokio::test]
async fn failures_are_not_kept() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{KEEP}{settings}")).await;
    for n in 1..=2 {
        let request = suite.ctx.request(pb::CompleteRequest { prompt: Some(asking("fail", |_| {})) });
        suite.client.clone().complete(request).await.unwrap_err();
        assert_eq!(provider.calls(), n);
    }
    assert_eq!(stats(&suite).await.entries, 0);
}

#[tokio::test]
async fn a_project_sees_and_clears_its_own() {
    let (provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{KEEP}{settings}")).await;
    let other = Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "");
    for ctx in [&suite.ctx, &suite.ctx, &other] {
        ask(&suite, ctx, asking("hi", |_| {})).await;
    }
    let mine = stats(&suite).await;
    assert_eq!((mine.enabled, mine.entries, mine.hits, mine.misses, mine.shared), (true, 1, 1, 1, 0));
    assert!(mine.bytes > 0);
    let cleared = suite.cache.clone().clear_cache(suite.ctx.request(pb::ClearCacheRequest {})).await.unwrap().into_inner();
    assert_eq!((cleared.cleared, stats(&suite).await.entries), (1, 0));
    ask(&suite, &other, asking("hi", |_| {})).await;
    assert_eq!(provider.calls(), 2, "the other project's answer is still there");
    ask(&suite, &suite.ctx, asking("hi", |_| {})).await;
    assert_eq!(provider.calls(), 3);
}

/// The ledger's rows of a project, the oldest first, once there are so many.
async fn rows(suite: &Suite, count: usize) -> Vec<pb::Call> {
    let enough = async {
        loop {
            let request = suite.ctx.request(pb::ListCallsRequest::default());
            let mut calls = suite.usage.clone().list_calls(request).await.unwrap().into_inner().calls;
            if calls.len() >= count {
                calls.reverse();
                return calls;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), enough).await.expect("the rows come")
}

async fn spent(suite: &Suite) -> (u64, i64) {
    let request = suite.ctx.request(pb::GetUsageRequest::default());
    let total = suite.usage.clone().get_usage(request).await.unwrap().into_inner().total.unwrap();
    (total.calls, total.cost_micros)
}

/// A dollar for a million tokens, of either kind.
const PRICED: &str = "[cache]\nshare_in_flight = true\n[providers.p.prices.m]\ninput_micros = 1000000\noutput_micros = 1000000\n";

#[tokio::test]
async fn a_shared_call_is_charged_whole_once_when_its_first_caller_leaves() {
    let (provider, settings) = Provider::start(0).await;
    let suite = suite(&format!("{settings}{PRICED}")).await;
    let mut leader = stream(&suite, asking("hi", |_| {})).await;
    for _ in 0..2 {
        leader.next().await.unwrap().unwrap();
    }
    let follower = stream(&suite, asking("hi", |_| {})).await;
    drop(leader);
    provider.gate.add_permits(1);
    let (text, hit) = text(follower).await;
    assert_eq!((text.as_str(), hit.unwrap().kind()), ("call 1", pb::CacheHitKind::Shared));
    let rows = rows(&suite, 2).await;
    let charged: Vec<_> = rows.iter().filter(|row| !row.cache_hit).collect();
    let [row] = charged[..] else { panic!("one call is paid for: {rows:?}") };
    let used = row.usage.as_ref().unwrap();
    assert_eq!((used.input_tokens, used.output_tokens, used.estimated, used.cost_micros), (3, 5, false, 8), "{row:?}");
    assert_eq!(row.outcome(), pb::CallOutcome::Completed);
    assert_eq!(rows.iter().filter(|row| row.cache_hit).map(|row| row.usage.as_ref().unwrap().cost_micros).sum::<i64>(), 0);
    assert_eq!((rows.len(), spent(&suite).await), (2, (2, 8)));
}

#[tokio::test]
async fn what_has_come_of_a_shared_call_is_charged_when_its_last_reader_leaves() {
    let (provider, settings) = Provider::start(0).await;
    let suite = suite(&format!("{settings}{PRICED}")).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut reader = stream(&suite, asking("hi", |_| {})).await;
        for _ in 0..2 {
            reader.next().await.unwrap().unwrap();
        }
        readers.push(reader);
    }
    drop(readers);
    let rows = rows(&suite, 2).await;
    let charged: Vec<_> = rows.iter().filter(|row| !row.cache_hit).collect();
    let [row] = charged[..] else { panic!("one call is paid for: {rows:?}") };
    let used = row.usage.as_ref().unwrap();
    assert!(used.estimated && used.input_tokens > 0, "{row:?}");
    assert_eq!((row.outcome(), used.output_tokens), (pb::CallOutcome::Cancelled, 2), "five bytes of \"call \"");
    assert_eq!(spent(&suite).await, (2, used.cost_micros));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn an_answer_that_is_kept_tells_no_finder_what_it_cost() {
    let (_provider, settings) = Provider::start(100).await;
    let suite = suite(&format!("{settings}{PRICED}").replace("share_in_flight = true", "ttl_seconds = 60")).await;
    let costs = async || ask(&suite, &suite.ctx, asking("hi", |_| {})).await.usage.unwrap();
    let (first, again) = (costs().await, costs().await);
    assert_eq!((first.cost_micros, first.price_version.as_str()), (8, "settings"));
    assert_eq!((again.cost_micros, again.price_version.as_str()), (0, "cache"));
    assert_eq!(spent(&suite).await, (2, 8));
}
