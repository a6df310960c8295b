//! Which model answers when one fails: keys, fallbacks, seams, and providers that are set aside.

use std::sync::atomic::{AtomicUsize, Ordering};

use slipway_proto::inference::{Attempt, FallbackPolicy, ListProvidersRequest, ProviderState, Seam};

use super::*;

fn two(first: &Provider, second: &Provider, more: &str) -> SuiteOptions {
    let mut options = SuiteOptions::with_provider(&first.base_url());
    options.config.push_str(more);
    options.config.push_str(&format!("\n[inference.providers.other]\nbase_url = \"{}\"\n", second.base_url()));
    options
}

async fn down() -> Provider {
    Provider::start(|_| vec![Step::Refuse(500, json!({"error": {"message": "out of order"}}))]).await.unwrap()
}

fn tries(attempts: &[Attempt]) -> Vec<(&str, &str)> {
    attempts.iter().map(|a| (a.model.as_str(), a.failure.as_str())).collect()
}

#[tokio::test]
async fn another_model_answers_and_everything_tried_is_told() {
    let (first, second) = (down().await, Provider::saying(&["here"]).await.unwrap());
    let suite = suite_with(two(&first, &second, "max_retries = 1\n")).await;
    let mut client = suite.client().unwrap();
    let prompt = Prompt { fallback_models: vec!["other/second".into()], ..prompt("x") };
    let answer = client.inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap().into_inner();
    let answer = answer.completion.unwrap();
    assert_eq!((answer.model.as_str(), answer.text.as_str()), ("other/second", "here"));
    let wanted = [("fake/scripted", "PROVIDER_UNAVAILABLE"), ("fake/scripted", "PROVIDER_UNAVAILABLE"), ("other/second", "")];
    assert_eq!(tries(&answer.attempts), wanted);
    let (failed, answered) = (&answer.attempts[0], &answer.attempts[2]);
    assert!(failed.message.contains("out of order") && failed.usage.is_none() && failed.first_token_ms.is_none(), "{failed:?}");
    assert!(answered.first_token_ms.is_some() && answered.start_time.is_some(), "{answered:?}");
    assert_eq!(answered.usage, answer.usage);
    assert_eq!((first.requests().len(), second.requests()[0]["model"].as_str()), (2, Some("second")));
}

#[tokio::test]
async fn another_model_goes_on_after_a_seam() {
    let first = Provider::start(|_| vec![Step::Text("one, ".into()), Step::Pause(Duration::from_millis(50)), Step::Cut]);
    let (first, second) = (first.await.unwrap(), Provider::saying(&["two"]).await.unwrap());
    let suite = suite_with(two(&first, &second, "")).await;
    let prompt = Prompt {
        fallback_models: vec!["other/second".into()],
        fallback_policy: FallbackPolicy::Continue.into(),
        ..prompt("count")
    };
    let request = StreamCompleteRequest { prompt: Some(prompt) };
    let stream = suite.client().unwrap().inference.stream_complete(request).await.unwrap().into_inner();
    let events = story::collect(stream, |r| r.event.unwrap()).await.unwrap();
    let seam = Seam {
        failed_model: "fake/scripted".into(),
        model: "other/second".into(),
        reason: "PROVIDER_UNAVAILABLE".into(),
        text_offset: 5,
    };
    let at = events.iter().position(|e| *e == Event::Seam(seam.clone())).expect("a seam");
    let text = |events: &[Event]| -> String {
        events.iter().filter_map(|e| if let Event::TextDelta(t) = e { Some(t.as_str()) } else { None }).collect()
    };
    assert_eq!((text(&events[..at]).as_str(), text(&events[at..]).as_str()), ("one, ", "two"));
    let Some(Event::Completed(end)) = events.last() else { panic!("{events:?}") };
    assert_eq!(tries(&end.attempts), [("fake/scripted", "PROVIDER_UNAVAILABLE"), ("other/second", "")]);
    let asked = &second.requests()[0]["messages"];
    assert_eq!((&asked[1]["role"], &asked[1]["content"]), (&json!("assistant"), &json!("one, ")));
}

#[tokio::test]
async fn a_refused_key_is_left_for_another_one() {
    let asked = AtomicUsize::new(0);
    let provider = Provider::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => vec![Step::Refuse(401, json!({"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}))],
        _ => vec![Step::Text("ok".into())],
    });
    let provider = provider.await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str("api_keys = [\"sk-first-0123456789\", \"sk-second-0123456789\"]\n");
    let suite = suite_with(options).await;
    let mut client = suite.client().unwrap();
    for _ in 0..3 {
        let answer = client.inference.complete(CompleteRequest { prompt: Some(prompt("x")) }).await.unwrap().into_inner();
        assert_eq!(answer.completion.unwrap().text, "ok");
    }
    let keys = provider.keys();
    assert_eq!(keys.len(), 4);
    // The refused one is not used again.
    assert!(keys[1..].iter().all(|k| *k == keys[1] && *k != keys[0]), "{keys:?}");
    let listed = client.inference.list_providers(ListProvidersRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = listed.providers.iter().map(|p| (p.name.as_str(), p.kind.as_str(), p.model_count)).collect();
    assert_eq!(names, [("builtin", "builtin", 1), ("fake", "openai", 1)]);
    let fake = &listed.providers[1];
    let states: Vec<_> = fake.keys.iter().map(|k| (k.state(), k.reason.as_str(), k.ejected_until.is_some())).collect();
    assert!(states.contains(&(ProviderState::Ejected, "PROVIDER_AUTH_FAILED", true)), "{states:?}");
    assert!(states.contains(&(ProviderState::Healthy, "", false)), "{states:?}");
    assert_eq!(fake.state(), ProviderState::Healthy);
    assert!(!format!("{listed:?}").contains("sk-"));
}

#[tokio::test]
async fn a_failing_provider_is_set_aside() {
    let provider = down().await;
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str("max_retries = 0\n\n[inference.breaker]\nfailures = 2\ncool_down_seconds = 600\n");
    let suite = suite_with(options).await;
    let mut client = suite.client().unwrap();
    for _ in 0..4 {
        let answer = client.inference.complete(CompleteRequest { prompt: Some(prompt("x")) }).await;
        refused(answer, Code::Unavailable, "PROVIDER_UNAVAILABLE");
    }
    assert_eq!(provider.requests().len(), 2);
    let listed = client.inference.list_providers(ListProvidersRequest::default()).await.unwrap().into_inner();
    let fake = &listed.providers[1];
    assert_eq!((fake.state(), fake.reason.as_str()), (ProviderState::Ejected, "PROVIDER_UNAVAILABLE"));
    // A test asks all the same.
    let test = client.inference.test_connection(TestConnectionRequest::default()).await.unwrap().into_inner();
    assert!(!test.ok && test.advice.contains("out of order"), "{test:?}");
    assert_eq!(provider.requests().len(), 3);
}
