//! Asking ahead, through the service's own door.

use std::time::Duration;

use slipway_testkit::provider::{Provider, Step};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const LIKELY: [&str; 2] = ["show me the logs", "what are the recent events"];

async fn start(more: &str) -> (Provider, Suite) {
    let provider = Provider::start(|request| match request.to_string() {
        text if text.contains("recent events") && text.contains("sulk") => {
            vec![Step::Refuse(400, serde_json::json!({"error": {"message": "no"}}))]
        }
        _ => vec![Step::Text("because".into())],
    });
    let provider = provider.await.unwrap();
    let settings = format!(
        "default_model = \"p/m\"\n[cache]\nttl_seconds = 60\n[prefetch]\nenabled = true\n{more}\n[providers.p]\nkind = \"openai\"\n\
         max_retries = 0\nbase_url = \"{}\"\n[providers.p.prices.m]\ninput_micros = 1000000\noutput_micros = 10000000\n",
        provider.base_url()
    );
    let suite = suite(&settings).await;
    (provider, suite)
}

fn asking(text: &str) -> pb::Prompt {
    pb::Prompt { prefetch: true, max_output_tokens: 50, ..prompt("", text).unwrap() }
}

async fn ask(suite: &Suite, prompt: pb::Prompt) -> pb::Completion {
    let request = suite.ctx.request(pb::CompleteRequest { prompt: Some(prompt) });
    suite.client.clone().complete(request).await.unwrap().into_inner().completion.unwrap()
}

/// The same conversation, gone on with.
fn then(mut prompt: pb::Prompt, answer: &pb::Completion, text: &str) -> pb::Prompt {
    let said = pb::Message { role: pb::Role::Assistant.into(), text: answer.text.clone(), ..Default::default() };
    let asked = pb::Message { role: pb::Role::User.into(), text: text.into(), ..Default::default() };
    prompt.messages.extend([said, asked]);
    prompt
}

async fn ledger(suite: &Suite) -> Vec<pb::Call> {
    let request = suite.ctx.request(pb::ListCallsRequest { page_size: 100, ..Default::default() });
    suite.usage.clone().list_calls(request).await.unwrap().into_inner().calls
}

/// Waits until so much has come of asking ahead, and tells all of it.
async fn came(suite: &Suite, result: &str, times: u64) -> String {
    let line = format!("slipway_inference_beside_total{{kind=\"prefetch\",result=\"{result}\"}} {times}\n");
    let waiting = async {
        loop {
            let text = suite.metrics.text().unwrap();
            if text.contains(&line) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{line}: {}", suite.metrics.text().unwrap()))
}

#[tokio::test]
async fn the_likely_next_question_is_answered_when_it_comes() {
    let (provider, suite) = start("").await;
    let first = ask(&suite, asking("why does it fail")).await;
    came(&suite, "kept", 2).await;
    assert_eq!(provider.requests().len(), 3);
    for text in LIKELY {
        let next = ask(&suite, then(asking("why does it fail"), &first, text)).await;
        assert_eq!(next.cache_hit.unwrap().kind(), pb::CacheHitKind::Exact, "{text}");
    }
    let calls = ledger(&suite).await;
    let ahead: Vec<_> = calls.iter().filter(|c| c.purpose() == pb::CallPurpose::Prefetch).collect();
    assert_eq!(ahead.len(), 2);
    assert!(ahead.iter().all(|c| c.usage.as_ref().unwrap().cost_micros == 81 && !c.cache_hit), "{ahead:?}");
    // Once more: it is all there, and nobody asks again.
    ask(&suite, asking("why does it fail")).await;
    came(&suite, "kept_before", 2).await;
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn nothing_is_asked_ahead_for_who_does_not_want_it() {
    let (provider, suite) = start("").await;
    for edit in [|p: &mut pb::Prompt| p.prefetch = false, |p: &mut pb::Prompt| p.cache = pb::CachePolicy::Bypass.into()] {
        let mut prompt = asking("why does it fail");
        edit(&mut prompt);
        ask(&suite, prompt).await;
    }
    ask(&suite, asking("what is a pod")).await;
    let text = suite.metrics.text().unwrap();
    assert!(!text.contains("kind=\"prefetch\""), "{text}");
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn money_and_room_are_limits() {
    // One costs 500 at most, and what it is asked with: 10 to 30.
    let (provider, suite) = start("concurrent = 1\ndaily_micros = 640").await;
    ask(&suite, asking("why does it fail")).await;
    came(&suite, "kept", 1).await;
    came(&suite, "busy", 1).await;
    assert_eq!(provider.requests().len(), 2);
    // 81 of 640 are spent: room for one more, and then for none.
    ask(&suite, asking("why does this fail")).await;
    came(&suite, "kept", 2).await;
    ask(&suite, asking("why does that fail")).await;
    came(&suite, "ceiling", 1).await;
    assert_eq!(provider.requests().len(), 5);
}

#[tokio::test]
async fn a_failure_is_silent() {
    let (provider, suite) = start("").await;
    let answer = ask(&suite, asking("why does it fail to sulk")).await;
    assert_eq!(answer.text, "because");
    came(&suite, "failed", 1).await;
    came(&suite, "kept", 1).await;
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn a_budget_has_room_for_who_asks_first() {
    let (provider, suite) = start("").await;
    let question = pb::EstimateCostRequest { prompt: Some(asking("why does it fail")) };
    let estimate = suite.usage.clone().estimate_cost(suite.ctx.request(question)).await.unwrap().into_inner();
    let budget = pb::CreateBudgetRequest {
        name: "small".into(),
        subject_kind: pb::BudgetSubject::Project.into(),
        window: pb::BudgetWindow::Total.into(),
        // Room for the longest answer; once one is paid for, there is none for a longer conversation.
        limit_micros: Some(estimate.reserve_micros),
        ..Default::default()
    };
    suite.budgets.clone().create_budget(suite.ctx.request(budget)).await.unwrap();
    assert_eq!(ask(&suite, asking("why does it fail")).await.text, "because");
    came(&suite, "failed", 2).await;
    assert_eq!((provider.requests().len(), ledger(&suite).await.len()), (1, 1));
}
