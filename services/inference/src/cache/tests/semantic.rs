//! Answers to questions that mean the same, through the service's own door.

use slipway_testkit::provider::{Provider, Step};

use super::*;

/// Texts are near when they are about the same: the first word that this knows decides.
fn embed(text: &str) -> Vec<f32> {
    match text {
        _ if text.contains("replicas") => vec![1.0, 0.0, 0.0],
        _ if text.contains("copies") => vec![0.99, 0.1, 0.0],
        _ if text.contains("instances") => vec![0.8, 0.6, 0.0],
        _ => vec![0.0, 0.0, 1.0],
    }
}

/// A provider that tells how many calls came before each.
async fn start(more: &str) -> (Provider, Suite) {
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start(move |_| vec![Step::Text(format!("call {}", calls.fetch_add(1, Ordering::SeqCst) + 1))]);
    let provider = provider.await.unwrap();
    provider.embed_with(Some(embed));
    let settings = format!(
        "[cache]\nttl_seconds = 60\n[cache.semantic]\nmodel = \"p/small\"\n{more}\n[providers.p]\nkind = \"openai\"\nmax_retries = 0\n\
         base_url = \"{}\"\n[providers.p.prices.small]\ninput_micros = 1000000\noutput_micros = 0\n",
        provider.base_url()
    );
    let suite = suite(&settings).await;
    (provider, suite)
}

fn semantic(text: &str) -> pb::Prompt {
    asking(text, |p| p.cache = pb::CachePolicy::Semantic.into())
}

async fn kind(suite: &Suite, prompt: pb::Prompt) -> Option<pb::CacheHitKind> {
    ask(suite, &suite.ctx, prompt).await.cache_hit.map(|hit| hit.kind())
}

async fn ledger(suite: &Suite) -> Vec<pb::Call> {
    let request = suite.ctx.request(pb::ListCallsRequest { page_size: 100, ..Default::default() });
    suite.usage.clone().list_calls(request).await.unwrap().into_inner().calls
}

#[tokio::test]
async fn a_question_that_means_the_same_is_answered_without_a_call() {
    let (provider, suite) = start("").await;
    let first = ask(&suite, &suite.ctx, semantic("how many replicas are there")).await;
    assert_eq!((first.text.as_str(), first.cache_hit), ("call 1", None));
    let other = ask(&suite, &suite.ctx, semantic("how many copies are there")).await;
    let hit = other.cache_hit.unwrap();
    assert_eq!((other.text.as_str(), hit.kind()), ("call 1", pb::CacheHitKind::Semantic));
    assert!((0.99..1.0).contains(&hit.similarity), "{hit:?}");
    assert_eq!(other.usage.unwrap().cost_micros, 0);
    let again = ask(&suite, &suite.ctx, semantic("how many replicas are there")).await.cache_hit.unwrap();
    assert_eq!((again.kind(), again.similarity), (pb::CacheHitKind::Exact, 1.0));
    assert_eq!(provider.requests().len(), 1);
    // The same question needs no vector.
    assert_eq!(provider.embedded(), ["how many replicas are there", "how many copies are there"]);
    let told = stats(&suite).await;
    assert_eq!((told.hits, told.semantic_hits, told.misses), (1, 1, 1));
    // Both vectors are paid for.
    let calls = ledger(&suite).await;
    let vectors: Vec<_> = calls.iter().filter(|c| c.purpose() == pb::CallPurpose::Embedding).collect();
    assert_eq!(vectors.len(), 2);
    for call in vectors {
        let usage = call.usage.as_ref().unwrap();
        assert_eq!((call.model.as_str(), usage.input_tokens, usage.cost_micros), ("p/small", 5, 5), "{call:?}");
    }
    assert_eq!(calls.iter().filter(|c| c.purpose() == pb::CallPurpose::Answer && c.cache_hit).count(), 2);
}

#[tokio::test]
async fn everything_else_must_be_the_same() {
    let (_provider, suite) = start("").await;
    ask(&suite, &suite.ctx, semantic("how many replicas are there")).await;
    let tool = pb::Tool { name: "t".into(), description: String::new(), parameters_json: "{}".into() };
    let system = pb::Message { role: pb::Role::System.into(), text: "be brief".into(), ..Default::default() };
    let near = || semantic("how many copies are there");
    let with = |edit: &dyn Fn(&mut pb::Prompt)| {
        let mut prompt = near();
        edit(&mut prompt);
        prompt
    };
    let others = [
        with(&|p| p.model = "p/n".into()),
        with(&|p| p.tools.push(tool.clone())),
        with(&|p| p.messages.insert(0, system.clone())),
        with(&|p| p.max_output_tokens = 7),
        with(&|p| p.temperature = Some(0.0)),
        with(&|p| p.reasoning_effort = pb::ReasoningEffort::Low.into()),
        with(&|p| p.fallback_models.push("p/n".into())),
        // Another one said it.
        with(&|p| p.messages[0].role = pb::Role::System.into()),
    ];
    for (n, other) in others.into_iter().enumerate() {
        assert_eq!(kind(&suite, other).await, None, "{n}");
    }
    let elsewhere = Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "");
    assert_eq!(ask(&suite, &elsewhere, near()).await.cache_hit, None);
    assert_eq!(kind(&suite, near()).await, Some(pb::CacheHitKind::Semantic));
}

#[tokio::test]
async fn what_is_only_near_in_sound_is_another_question() {
    let (_provider, suite) = start("").await;
    let pairs = [
        ("set replicas to 3", "set copies to 4"),
        ("enable replicas", "do not enable copies"),
        ("count replicas in a.yaml", "count copies in b.yaml"),
        ("show replicas of \"web\"", "show copies of \"db\""),
    ];
    for (one, other) in pairs {
        ask(&suite, &suite.ctx, semantic(one)).await;
        assert_eq!(kind(&suite, semantic(other)).await, None, "{other}");
    }
    // Near, but not as near as the settings want.
    assert_eq!(kind(&suite, semantic("set instances to 3")).await, None);
    assert_eq!(kind(&suite, semantic("set copies to three")).await, Some(pb::CacheHitKind::Semantic));
    let (_provider, suite) = start("threshold = 0.79").await;
    ask(&suite, &suite.ctx, semantic("set replicas to 3")).await;
    assert_eq!(kind(&suite, semantic("set instances to 3")).await, Some(pb::CacheHitKind::Semantic));
}

#[tokio::test]
async fn nobody_gets_it_who_has_not_asked_for_it() {
    let (provider, suite) = start("").await;
    ask(&suite, &suite.ctx, semantic("how many replicas are there")).await;
    for policy in [pb::CachePolicy::Default, pb::CachePolicy::Bypass, pb::CachePolicy::Refresh] {
        assert_eq!(kind(&suite, asking("how many copies are there", |p| p.cache = policy.into())).await, None);
    }
    assert_eq!(provider.embedded().len(), 1);
    // Names of this call are others in the next.
    let private = |text: &str| {
        let name = pb::PrivateName { name: "replicas".into(), kind: pb::NameKind::Resource.into() };
        pb::Prompt { private_names: vec![name], ..semantic(text) }
    };
    ask(&suite, &suite.ctx, private("how many replicas are here")).await;
    assert_eq!(provider.embedded().len(), 1);
}

#[tokio::test]
async fn secrets_are_not_embedded() {
    let (provider, suite) = start("").await;
    let key = concat!("AKIA", "Z3MWQ7RTKX5VNB2D");
    ask(&suite, &suite.ctx, semantic(&format!("how many replicas does {key} see"))).await;
    let embedded = provider.embedded().join("\n");
    assert!(embedded.contains("replicas") && !embedded.contains(key), "{embedded}");
}

#[tokio::test]
async fn without_vectors_calls_go_on() {
    let (provider, suite) = start("rest_seconds = 0").await;
    ask(&suite, &suite.ctx, semantic("how many replicas are there")).await;
    provider.embed_with(None);
    assert_eq!(kind(&suite, semantic("how many copies are there")).await, None);
    let calls = ledger(&suite).await;
    let failed = calls.iter().find(|c| c.outcome() == pb::CallOutcome::Failed).unwrap();
    assert_eq!((failed.purpose(), failed.usage.as_ref().unwrap().cost_micros), (pb::CallPurpose::Embedding, 0));
    provider.embed_with(Some(embed));
    assert_eq!(kind(&suite, semantic("how many copies are here")).await, Some(pb::CacheHitKind::Semantic));

    let (provider, suite) = start("").await;
    provider.embed_with(None);
    for text in ["a", "b", "c"] {
        assert_eq!(kind(&suite, semantic(text)).await, None);
    }
    assert_eq!(provider.embedded(), ["a"], "it rests after a failure");
}
