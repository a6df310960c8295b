//! Calls on their way, over clients that play scripts. Time is paused: pauses are exact and cost nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use slipway_telemetry::Metrics;
use tokio::time::{Instant, advance};

use super::*;
use crate::error::{Kind, ProviderError, Size};
use crate::model::{Completion, Delta, Finish, Message, ModelInfo, Role, Seam, Usage};
use crate::provider::{Provider, collect};

type Step = Result<Delta, ProviderError>;
const COOL_DOWN: Duration = Duration::from_secs(30);

/// A client that plays one script per call, the last one again and again, and keeps what it was asked.
#[derive(Default)]
struct Scripted {
    scripts: Mutex<VecDeque<Vec<Step>>>,
    asked: Mutex<Vec<(Instant, Request)>>,
}

impl Scripted {
    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn times(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(at, _)| *at - asked[0].0).collect()
    }

    fn last(&self) -> Request {
        self.asked.lock().unwrap().last().unwrap().1.clone()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn stream(&self, request: &Request) -> Deltas {
        self.asked.lock().unwrap().push((Instant::now(), request.clone()));
        let mut scripts = self.scripts.lock().unwrap();
        let script = if scripts.len() > 1 { scripts.pop_front().unwrap() } else { again(&scripts[0]) };
        futures::stream::iter(script).boxed()
    }

    async fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }
}

fn again(script: &[Step]) -> Vec<Step> {
    let step = |s: &Step| match s {
        Ok(delta) => Ok(delta.clone()),
        Err(e) => Err(ProviderError {
            retry_after: e.retry_after,
            size: e.size.clone(),
            ..ProviderError::new(e.kind, &e.provider, &e.message)
        }),
    };
    script.iter().map(step).collect()
}

fn says(text: &str) -> Vec<Step> {
    let usage = Usage { input: 10, output: 2, ..Usage::default() };
    let completed = Delta::Completed { finish: Finish::Stop, usage, reasoning_state: None };
    vec![Ok(Delta::Started), Ok(Delta::Text(text.into())), Ok(completed)]
}

fn fails(kind: Kind) -> Vec<Step> {
    vec![Err(ProviderError::new(kind, "p", format!("{kind:?}")))]
}

fn waits(kind: Kind, seconds: u64) -> Vec<Step> {
    let mut error = ProviderError::new(kind, "p", "wait");
    error.retry_after = Some(Duration::from_secs(seconds));
    vec![Err(error)]
}

fn breaks(text: &str, kind: Kind) -> Vec<Step> {
    let used = Usage { input: 10, output: 1, ..Usage::default() };
    let said = if text.is_empty() { vec![] } else { vec![Ok(Delta::Text(text.into()))] };
    [vec![Ok(Delta::Started), Ok(Delta::Usage(used))], said, fails(kind)].concat_steps()
}

trait ConcatSteps {
    fn concat_steps(self) -> Vec<Step>;
}

impl<const N: usize> ConcatSteps for [Vec<Step>; N] {
    fn concat_steps(self) -> Vec<Step> {
        self.into_iter().flatten().collect()
    }
}

/// A router over scripted providers: name, retries, and the scripts of each key.
struct World {
    router: Router,
    keys: Vec<Vec<Arc<Scripted>>>,
    metrics: Metrics,
}

// A name, how often a call is tried again, and the scripts of each key.
type Scripts<'a> = (&'a str, u32, Vec<Vec<Vec<Step>>>);

fn world(settings: &str, providers: Vec<Scripts<'_>>) -> World {
    let settings: Settings = toml::from_str(settings).unwrap();
    let metrics = Metrics::new();
    let limits = Limits::of(&settings.breaker);
    let mut keys = Vec::new();
    let mut upstreams = Vec::new();
    for (name, retries, scripts) in providers {
        let clients: Vec<_> =
            scripts.into_iter().map(|s| Arc::new(Scripted { scripts: Mutex::new(s.into()), ..Scripted::default() })).collect();
        let shared = clients.iter().map(|c| c.clone() as Arc<dyn Provider>).collect();
        upstreams.push(Upstream::new(name, "test", shared, retries, limits, &metrics));
        keys.push(clients);
    }
    let catalogue = Arc::new(Catalogue::open(&settings, metrics.clone()).unwrap());
    let providers = Providers::of("a/m", upstreams);
    World { router: Router::new(settings, providers, catalogue), keys, metrics }
}

impl World {
    fn key(&self, provider: usize, key: usize) -> &Scripted {
        &self.keys[provider][key]
    }

    fn start(&self, model: &str, fallback: Fallback, remaining: Option<Duration>) -> Routed {
        let request = Request { messages: vec![Message::new(Role::User, "hi")], ..Request::default() };
        self.router.start(self.router.way(model, fallback).unwrap(), request, remaining)
    }

    async fn call(&self, model: &str, fallback: &[&str]) -> Called {
        let models = fallback.iter().map(|m| (*m).to_owned()).collect();
        self.called(model, Fallback { models, ..Fallback::default() }).await
    }

    async fn called(&self, model: &str, fallback: Fallback) -> Called {
        let routed = self.start(model, fallback, None);
        let answer = collect(routed.deltas).await;
        Called { answer, attempts: routed.journal.attempts() }
    }
}

#[derive(Debug)]
struct Called {
    answer: Result<Completion, ProviderError>,
    attempts: Vec<Attempt>,
}

impl Called {
    fn text(&self) -> &str {
        &self.answer.as_ref().unwrap().text
    }

    fn kind(&self) -> Kind {
        self.answer.as_ref().unwrap_err().kind
    }

    /// Model, key and why it failed, of each try.
    fn tries(&self) -> Vec<(&str, usize, Option<Kind>)> {
        let kind = |o: &Outcome| if let Outcome::Failed { kind, .. } = o { Some(*kind) } else { None };
        self.attempts.iter().map(|a| (a.model.as_ref(), a.key, kind(&a.outcome))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_after_pauses() {
    let script = vec![fails(Kind::Server), breaks("", Kind::Overloaded), fails(Kind::Network), says("ok")];
    let world = world("", vec![("a", 3, vec![script])]);
    let called = world.call("a/m", &[]).await;
    assert_eq!(called.text(), "ok");
    let wanted = [Some(Kind::Server), Some(Kind::Overloaded), Some(Kind::Network), None].map(|kind| ("a/m", 0, kind));
    assert_eq!(called.tries(), wanted);
    let times = world.key(0, 0).times();
    assert!(times[1] >= Duration::from_millis(250) && times[2] - times[1] >= Duration::from_millis(250), "{times:?}");
    // The second try had been accepted: what it used is paid for too.
    assert_eq!(called.answer.unwrap().usage, Usage { input: 20, output: 3, ..Usage::default() });
}

#[tokio::test(start_paused = true)]
async fn retries_have_an_end_and_some_failures_none() {
    let world_of = |kind| world("[breaker]\nfailures = 1000", vec![("a", 2, vec![vec![fails(kind)]])]);
    for kind in [Kind::RateLimited, Kind::Overloaded, Kind::Server, Kind::Network] {
        let world = world_of(kind);
        assert_eq!((world.call("a/m", &[]).await.kind(), world.key(0, 0).count()), (kind, 3));
    }
    for kind in [
        Kind::Auth,
        Kind::Permission,
        Kind::CreditExhausted,
        Kind::ContextTooLong,
        Kind::ContentRefused,
        Kind::ModelNotFound,
        Kind::BadRequest,
        Kind::TimeoutBeforeAnswer,
        Kind::TimeoutBetweenDeltas,
    ] {
        let world = world_of(kind);
        assert_eq!((world.call("a/m", &[]).await.kind(), world.key(0, 0).count()), (kind, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_to_the_point() {
    let world = world("", vec![("a", 1, vec![vec![waits(Kind::RateLimited, 7), says("ok")]])]);
    let called = world.call("a/m", &[]).await;
    assert_eq!(called.text(), "ok");
    let times = world.key(0, 0).times();
    assert!((Duration::from_secs(7)..Duration::from_millis(7_010)).contains(&times[1]), "{times:?}");
    assert!(matches!(called.attempts[0].outcome, Outcome::Failed { retry_after: Some(wait), .. } if wait.as_secs() == 7));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_limit_or_the_deadline_is_the_callers() {
    let far = world("", vec![("a", 5, vec![vec![waits(Kind::RateLimited, 60)]])]);
    let called = far.call("a/m", &[]).await;
    assert_eq!((called.kind(), far.key(0, 0).count()), (Kind::RateLimited, 1));
    assert_eq!(called.answer.unwrap_err().retry_after, Some(Duration::from_secs(60)));
    // The key waits as long as its provider said: nobody else asks it in between.
    let called = far.call("a/m", &[]).await;
    assert_eq!((called.kind(), far.key(0, 0).count()), (Kind::RateLimited, 1));
    assert!(called.answer.unwrap_err().message.contains("set aside"));

    let near = world("", vec![("a", 5, vec![vec![waits(Kind::Overloaded, 5)]])]);
    let begun = Instant::now();
    let routed = near.start("a/m", Fallback::default(), Some(Duration::from_secs(4)));
    assert_eq!(collect(routed.deltas).await.unwrap_err().kind, Kind::Overloaded);
    assert_eq!((near.key(0, 0).count(), begun.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn keys_take_turns() {
    let world = world("", vec![("a", 0, vec![vec![says("x")], vec![says("y")], vec![says("z")]])]);
    let mut used = Vec::new();
    for _ in 0..6 {
        used.push(world.call("a/m", &[]).await.attempts[0].key);
    }
    assert_eq!(used[..3].iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert_eq!(used[..3], used[3..]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_left_for_the_next_one_at_once() {
    for kind in [Kind::Auth, Kind::CreditExhausted, Kind::RateLimited] {
        let world = world("", vec![("a", 0, vec![vec![fails(kind), says("0")], vec![fails(kind), says("1")], vec![says("2")]])]);
        let called = world.call("a/m", &[]).await;
        assert_eq!(called.tries(), [("a/m", 0, Some(kind)), ("a/m", 1, Some(kind)), ("a/m", 2, None)]);
        assert_eq!(called.attempts.iter().map(|a| a.took).sum::<Duration>(), Duration::ZERO);
        // They stay aside while their time is not over.
        for _ in 0..3 {
            assert_eq!(world.call("a/m", &[]).await.attempts[0].key, 2);
        }
        advance(COOL_DOWN).await;
        let mut used: Vec<_> = Vec::new();
        for _ in 0..3 {
            used.push(world.call("a/m", &[]).await.attempts[0].key);
        }
        used.sort_unstable();
        assert_eq!(used, [0, 1, 2], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_key_is_not_set_aside_without_a_word() {
    let world = world("", vec![("a", 0, vec![vec![fails(Kind::Auth)]])]);
    for n in 1..=10 {
        assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Auth);
        assert_eq!(world.key(0, 0).count(), n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_is_set_aside_and_tried_again() {
    let mut scripts: Vec<_> = (0..6).map(|_| fails(Kind::Server)).collect();
    scripts.push(says("back"));
    let world = world("", vec![("a", 0, vec![scripts]), ("b", 0, vec![vec![says("b")]])]);
    for _ in 0..5 {
        assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Server);
    }
    let refused = world.call("a/m", &[]).await;
    assert_eq!((refused.kind(), world.key(0, 0).count()), (Kind::Server, 5));
    assert_eq!(refused.answer.unwrap_err().retry_after, Some(COOL_DOWN));
    // With a fallback nobody waits for it.
    let called = world.call("a/m", &["b/m"]).await;
    assert_eq!((called.text(), called.tries()), ("b", vec![("b/m", 0, None)]));
    let gauge =
        |n: u32| world.metrics.text().unwrap().contains(&format!("slipway_inference_breaker{{key=\"\",provider=\"a\"}} {n}"));
    assert!(gauge(2));

    advance(COOL_DOWN).await;
    assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Server);
    assert_eq!(world.key(0, 0).count(), 6);
    assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Server);
    assert_eq!(world.key(0, 0).count(), 6);
    advance(COOL_DOWN).await;
    assert_eq!(world.call("a/m", &[]).await.text(), "back");
    assert!(gauge(0));
    assert_eq!(world.call("a/m", &[]).await.text(), "back");
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_do_not_set_a_provider_aside() {
    for kind in [Kind::BadRequest, Kind::ContentRefused, Kind::ContextTooLong, Kind::ModelNotFound] {
        let world = world("[breaker]\nfailures = 1", vec![("a", 0, vec![vec![fails(kind)]])]);
        for n in 1..=3 {
            assert_eq!(world.call("a/m", &[]).await.kind(), kind);
            assert_eq!(world.key(0, 0).count(), n);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn models_are_tried_in_order_before_the_first_token() {
    for kind in [
        Kind::Auth,
        Kind::Permission,
        Kind::CreditExhausted,
        Kind::RateLimited,
        Kind::Overloaded,
        Kind::Server,
        Kind::Network,
        Kind::ModelNotFound,
        Kind::TimeoutBeforeAnswer,
    ] {
        let providers =
            vec![("a", 0, vec![vec![fails(kind)]]), ("b", 0, vec![vec![fails(kind)]]), ("c", 0, vec![vec![says("c")]])];
        let called = world("", providers).call("a/m", &["b/m", "c/m"]).await;
        assert_eq!(called.tries(), [("a/m", 0, Some(kind)), ("b/m", 0, Some(kind)), ("c/m", 0, None)]);
        let answer = called.answer.unwrap();
        assert_eq!((answer.text.as_str(), answer.model.as_str(), answer.seams.len()), ("c", "c/m", 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_stays_with_its_model() {
    let providers = |kind| vec![("a", 0, vec![vec![fails(kind)]]), ("b", 0, vec![vec![says("b")]])];
    for kind in [Kind::BadRequest, Kind::ContentRefused] {
        let world = world("", providers(kind));
        assert_eq!(world.call("a/m", &["b/m"]).await.kind(), kind);
        assert_eq!(world.key(1, 0).count(), 0);
    }
    let refused = Fallback { models: vec!["b/m".into()], when_refused: true, ..Fallback::default() };
    assert_eq!(world("", providers(Kind::ContentRefused)).called("a/m", refused).await.text(), "b");
    let by_settings = world("fallback_when_refused = true", providers(Kind::ContentRefused));
    assert_eq!(by_settings.call("a/m", &["b/m"]).await.text(), "b");
}

#[tokio::test(start_paused = true)]
async fn too_long_goes_only_to_a_model_that_reads_more() {
    let settings = r#"
        [providers.a]
        base_url = "http://127.0.0.1:9"
        [providers.b]
        base_url = "http://127.0.0.1:9"
    "#;
    let mut too_long = ProviderError::new(Kind::ContextTooLong, "a", "too long");
    too_long.size = Some(Box::new(Size { limit: Some(8_192), sent: Some(9_000) }));
    let scripts = || vec![("a", 0, vec![vec![vec![Err(again_error(&too_long))]]]), ("b", 0, vec![vec![says("b")]])];
    // gpt-4 reads 8,192 tokens, gpt-4o 128,000.
    let called = world(settings, scripts()).call("a/gpt-4", &["b/gpt-4-0613", "b/gpt-4o"]).await;
    assert_eq!(called.tries(), [("a/gpt-4", 0, Some(Kind::ContextTooLong)), ("b/gpt-4o", 0, None)]);
    let called = world(settings, scripts()).call("a/gpt-4", &["b/gpt-4-0613"]).await;
    assert_eq!(called.kind(), Kind::ContextTooLong);
}

fn again_error(error: &ProviderError) -> ProviderError {
    ProviderError { size: error.size.clone(), ..ProviderError::new(error.kind, &error.provider, &error.message) }
}

#[tokio::test(start_paused = true)]
async fn the_settings_name_fallbacks_too() {
    let settings = r#"
        [fallbacks]
        "a/m" = ["gone/x", "b/m"]
    "#;
    let providers =
        || vec![("a", 0, vec![vec![fails(Kind::Server)]]), ("b", 0, vec![vec![says("b")]]), ("c", 0, vec![vec![says("c")]])];
    assert_eq!(world(settings, providers()).call("a/m", &[]).await.text(), "b");
    assert_eq!(world(settings, providers()).call("", &[]).await.text(), "b");
    assert_eq!(world(settings, providers()).call("a/m", &["c/m"]).await.text(), "c");
    assert_eq!(world(settings, providers()).call("a/other", &[]).await.kind(), Kind::Server);
    let world = world(settings, providers());
    let unknown = Fallback { models: vec!["nobody/x".into()], ..Fallback::default() };
    assert!(world.router.way("a/m", unknown).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stands_by_is_sooner_than_a_long_wait() {
    let providers = vec![("a", 3, vec![vec![waits(Kind::RateLimited, 8)]]), ("b", 0, vec![vec![says("b")]])];
    let world = world("", providers);
    let begun = Instant::now();
    assert_eq!(world.call("a/m", &["b/m"]).await.text(), "b");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_error_is_of_the_model_that_was_asked_for() {
    let providers = vec![("a", 0, vec![vec![waits(Kind::Overloaded, 3)]]), ("b", 0, vec![vec![fails(Kind::Auth)]])];
    let error = world("", providers).call("a/m", &["b/m"]).await.answer.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::Overloaded, Some(Duration::from_secs(3))));
    assert_eq!(error.message, "wait; then b/m: Auth");
}

#[tokio::test(start_paused = true)]
async fn after_the_first_token_nothing_is_tried_unless_the_caller_allows_it() {
    let world = world("", vec![("a", 3, vec![vec![breaks("so far", Kind::Server)]]), ("b", 0, vec![vec![says("b")]])]);
    let routed = world.start("a/m", Fallback { models: vec!["b/m".into()], ..Fallback::default() }, None);
    let deltas: Vec<_> = routed.deltas.collect().await;
    assert!(matches!(&deltas[0], Ok(Delta::Answering(model)) if model.as_ref() == "a/m"));
    assert!(matches!(&deltas[1], Ok(Delta::Text(text)) if text == "so far"));
    assert!(matches!(&deltas[2], Err(error) if error.kind == Kind::Server));
    assert_eq!((deltas.len(), world.key(0, 0).count(), world.key(1, 0).count()), (3, 1, 0));
    // What was used is known all the same.
    assert_eq!(routed.journal.attempts()[0].usage, Some(Usage { input: 10, output: 1, ..Usage::default() }));
}

#[tokio::test(start_paused = true)]
async fn another_model_goes_on_after_a_seam() {
    let providers = vec![
        ("a", 3, vec![vec![breaks("one, ", Kind::Server)]]),
        ("b", 0, vec![vec![breaks("two, ", Kind::TimeoutBetweenDeltas)]]),
        ("c", 0, vec![vec![says("three")]]),
    ];
    let world = world("", providers);
    let fallback = Fallback { models: vec!["b/m".into(), "c/m2".into()], goes_on: true, ..Fallback::default() };
    let called = world.called("a/m", fallback).await;
    let tries = [("a/m", 0, Some(Kind::Server)), ("b/m", 0, Some(Kind::TimeoutBetweenDeltas)), ("c/m2", 0, None)];
    assert_eq!(called.tries(), tries);
    let answer = called.answer.unwrap();
    assert_eq!((answer.text.as_str(), answer.model.as_str()), ("one, two, three", "c/m2"));
    let seam = |failed: &str, model: &str, kind, offset| Seam { failed: failed.into(), model: model.into(), kind, offset };
    let seams = [seam("a/m", "b/m", Kind::Server, 5), seam("b/m", "c/m2", Kind::TimeoutBetweenDeltas, 10)];
    assert_eq!(answer.seams, seams);
    // Both broken answers and the last one are paid for.
    assert_eq!(answer.usage, Usage { input: 30, output: 4, ..Usage::default() });
    assert_eq!(called.attempts.iter().filter_map(|a| a.usage).count(), 3);
    let asked = world.key(2, 0).last();
    assert_eq!(asked.model, "m2");
    let said: Vec<_> = asked.messages.iter().filter(|m| m.role == Role::Assistant).map(|m| m.text.as_str()).collect();
    assert_eq!(said, ["one, ", "two, "]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_model_before_the_first_token_is_marked_too_once_it_was_told() {
    let world = world("", vec![("a", 0, vec![vec![breaks("", Kind::Server)]]), ("b", 0, vec![vec![says("b")]])]);
    let answer = world.call("a/m", &["b/m"]).await.answer.unwrap();
    assert_eq!((answer.seams.len(), answer.seams[0].offset, answer.text.as_str()), (1, 0, "b"));
}

#[tokio::test(start_paused = true)]
async fn no_side_effect_is_repeated() {
    let call = Delta::ToolCall { index: 0, id: "1".into(), name: "delete".into(), arguments: "{".into() };
    let script = || [vec![Ok(Delta::Started), Ok(call.clone())], fails(Kind::Network)].concat_steps();
    let world = world("", vec![("a", 3, vec![vec![script()], vec![script()]]), ("b", 0, vec![vec![says("b")]])]);
    let fallback = Fallback { models: vec!["b/m".into()], goes_on: true, ..Fallback::default() };
    let called = world.called("a/m", fallback).await;
    assert_eq!((called.kind(), called.attempts.len(), world.key(1, 0).count()), (Kind::Network, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_the_pause_and_what_would_follow() {
    let world = world("", vec![("a", 9, vec![vec![fails(Kind::Server)]]), ("b", 0, vec![vec![says("b")]])]);
    let mut routed = world.start("a/m", Fallback { models: vec!["b/m".into()], ..Fallback::default() }, None);
    assert!(routed.deltas.next().now_or_never().is_none());
    drop(routed.deltas);
    advance(Duration::from_secs(60)).await;
    assert_eq!((world.key(0, 0).count(), world.key(1, 0).count()), (1, 0));
    assert_eq!(routed.journal.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_waits_for_leaves_the_way_open() {
    let scripts = vec![fails(Kind::Server), says("1"), says("2")];
    let world = world("[breaker]\nfailures = 1", vec![("a", 0, vec![scripts])]);
    assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Server);
    advance(COOL_DOWN).await;
    let mut probe = world.start("a/m", Fallback::default(), None);
    // Accepted, and not a token yet: others are still kept away.
    probe.deltas.next().await.unwrap().unwrap();
    assert_eq!(world.call("a/m", &[]).await.kind(), Kind::Server);
    drop(probe);
    assert_eq!(world.call("a/m", &[]).await.text(), "2");
}

#[tokio::test(start_paused = true)]
async fn what_may_leave_is_known_before() {
    let world = world("", vec![("a", 0, vec![vec![says("x")]]), ("builtin", 0, vec![vec![says("y")]])]);
    let leaves = |model: &str, others: &[&str]| {
        let models = others.iter().map(|m| (*m).to_owned()).collect();
        world.router.way(model, Fallback { models, ..Fallback::default() }).unwrap().leaves()
    };
    assert!(!leaves("builtin/rules", &[]));
    assert!(leaves("a/m", &[]) && leaves("builtin/rules", &["a/m"]) && leaves("a/m", &["builtin/rules"]));
}
