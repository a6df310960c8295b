//! What is done beside answers, through the service's own door: short ones, and many at once.

use std::sync::Arc;
use std::time::Duration;

use slipway_testkit::provider::{Provider, Step};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A provider whose short answers are `short`, and whose others wait for a permit before their last word.
async fn start(short: Vec<Step>, gate: &Arc<Semaphore>, more: &str) -> (Provider, Suite) {
    let gate = gate.clone();
    let provider = Provider::start(move |request| match request.to_string() {
        text if text.contains("two or three short sentences") => short.clone(),
        text if text.contains("refuse this") => vec![Step::Refuse(400, serde_json::json!({"error": {"message": "no"}}))],
        _ => vec![Step::Text("a long ".into()), Step::Gate(gate.clone()), Step::Text("answer".into())],
    });
    let provider = provider.await.unwrap();
    let settings = format!(
        "default_model = \"p/m\"\n{more}\n[providers.p]\nkind = \"openai\"\nmax_retries = 0\nbase_url = \"{}\"\n",
        provider.base_url()
    );
    let suite = suite(&settings).await;
    (provider, suite)
}

fn quick(text: &str) -> pb::Prompt {
    pb::Prompt { quick_answer: true, ..prompt("", text).unwrap() }
}

async fn ask(suite: &Suite, prompt: pb::Prompt) -> tonic::Streaming<pb::StreamCompleteResponse> {
    let request = suite.ctx.request(pb::StreamCompleteRequest { prompt: Some(prompt) });
    suite.client.clone().stream_complete(request).await.unwrap().into_inner()
}

async fn next(events: &mut tonic::Streaming<pb::StreamCompleteResponse>) -> Event {
    timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap().event.unwrap()
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

async fn ledger(suite: &Suite) -> Vec<pb::Call> {
    let request = suite.ctx.request(pb::ListCallsRequest { page_size: 100, ..Default::default() });
    suite.usage.clone().list_calls(request).await.unwrap().into_inner().calls
}

#[tokio::test]
async fn a_short_answer_comes_first_and_both_are_in_the_ledger() {
    let gate = Arc::new(Semaphore::new(0));
    let (provider, suite) = start(vec![Step::Text("In short.".into())], &gate, "").await;
    let mut asked = quick("why is it so");
    asked.tools.push(pb::Tool { name: "t".into(), description: String::new(), parameters_json: "{}".into() });
    let mut events = ask(&suite, asked).await;
    assert!(matches!(next(&mut events).await, Event::Started(_)));
    let Event::QuickAnswer(short) = next(&mut events).await else { panic!("not first") };
    assert_eq!((short.text.as_str(), short.model.as_str()), ("In short.", "p/m"));
    assert_eq!(short.usage.unwrap().output_tokens, 7);
    assert_eq!(next(&mut events).await, Event::TextDelta("a long ".into()), "held back, and not lost");
    gate.add_permits(1);
    assert_eq!(next(&mut events).await, Event::TextDelta("answer".into()));
    assert!(matches!(next(&mut events).await, Event::Completed(_)));
    let sent = provider.requests();
    let short = sent.iter().find(|r| r.to_string().contains("two or three short sentences")).unwrap();
    assert!(short.get("tools").is_none() && short.to_string().contains(":150"), "{short}");
    let mut purposes: Vec<_> = ledger(&suite).await.iter().map(|c| c.purpose()).collect();
    purposes.sort_unstable();
    assert_eq!(purposes, [pb::CallPurpose::Answer, pb::CallPurpose::QuickAnswer]);
}

#[tokio::test]
async fn a_short_answer_that_fails_is_not_missed() {
    let gate = Arc::new(Semaphore::new(1));
    let refused = vec![Step::Refuse(500, serde_json::json!({"error": {"message": "no"}}))];
    let (_provider, suite) = start(refused, &gate, "").await;
    let events: Vec<_> = ask(&suite, quick("why")).await.map(|e| e.unwrap().event.unwrap()).collect().await;
    assert!(!events.iter().any(|e| matches!(e, Event::QuickAnswer(_))), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Completed(_))));
    // A prompt that does not want one gets none.
    gate.add_permits(1);
    let (provider, suite) = start(vec![Step::Text("In short.".into())], &gate, "").await;
    let events: Vec<_> = ask(&suite, prompt("", "why").unwrap()).await.collect().await;
    assert_eq!((events.len(), provider.requests().len()), (4, 1));
}

#[tokio::test]
async fn who_leaves_ends_both() {
    let gate = Arc::new(Semaphore::new(0));
    let (provider, suite) = start(vec![Step::Text("In ".into()), Step::Gate(gate.clone())], &gate, "").await;
    let mut events = ask(&suite, quick("why")).await;
    assert!(matches!(next(&mut events).await, Event::Started(_)));
    until(|| provider.open_streams() == 2).await;
    drop(events);
    gate.add_permits(2);
    until(|| provider.open_streams() == 0).await;
}

async fn batch(suite: &Suite, prompts: Vec<pb::Prompt>) -> tonic::Streaming<pb::BatchCompleteResponse> {
    let request = suite.ctx.request(pb::BatchCompleteRequest { prompts });
    suite.client.clone().batch_complete(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn each_prompt_of_a_batch_has_its_own_end() {
    let gate = Arc::new(Semaphore::new(10));
    let (provider, suite) = start(vec![], &gate, "").await;
    let prompts = vec![
        prompt("", "one").unwrap(),
        pb::Prompt::default(),
        prompt("nobody/x", "two").unwrap(),
        prompt("", "refuse this").unwrap(),
        prompt("builtin/rules", "hello").unwrap(),
        prompt("", "three").unwrap(),
    ];
    let mut results: Vec<_> = batch(&suite, prompts).await.map(Result::unwrap).collect().await;
    results.sort_by_key(|r| r.index);
    assert_eq!(results.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let told: Vec<_> = results
        .into_iter()
        .map(|r| match r.result.unwrap() {
            pb::batch_complete_response::Result::Completion(whole) => format!("{} {}", whole.model, whole.usage.is_some()),
            pb::batch_complete_response::Result::Error(error) => {
                assert!(error.code > 0 && !error.message.is_empty(), "{error:?}");
                error.reason
            }
        })
        .collect();
    let expected =
        ["p/m true", "FIELD_INVALID", "MODEL_NOT_FOUND", "PROVIDER_REJECTED_REQUEST", "builtin/rules true", "p/m true"];
    assert_eq!(told, expected);
    // Each is a call of its own, and in the ledger.
    assert_eq!(provider.requests().len(), 3);
    assert!(provider.requests().iter().all(|r| r["messages"].as_array().unwrap().len() == 1));
    assert_eq!(ledger(&suite).await.len(), 4);
    for prompts in [vec![], vec![prompt("", "x").unwrap(); 101]] {
        let request = suite.ctx.request(pb::BatchCompleteRequest { prompts });
        assert_eq!(reason(&suite.client.clone().batch_complete(request).await.unwrap_err()), Reason::FieldInvalid);
    }
}

#[tokio::test]
async fn a_batch_takes_its_turns() {
    let gate = Arc::new(Semaphore::new(0));
    let (provider, suite) = start(vec![], &gate, "[batch]\nper_provider = 2").await;
    let prompts = (0..5).map(|n| prompt("", &format!("question {n}")).unwrap()).collect();
    let mut results = batch(&suite, prompts).await;
    let waiting = tokio::spawn(async move {
        let mut indexes = Vec::new();
        while let Some(result) = results.next().await {
            indexes.push(result.unwrap().index);
        }
        indexes
    });
    for done in 0..5 {
        until(|| provider.requests().len() >= (done + 2).min(5)).await;
        assert_eq!(provider.requests().len(), (done + 2).min(5), "two at a time");
        gate.add_permits(1);
    }
    let mut indexes = waiting.await.unwrap();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
}
