//! What calls cost, from outside: in the answer, in the ledger, against budgets; by many at once, by two processes, after a kill.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use slipway_proto::inference::budget_service_client::BudgetServiceClient;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::usage_service_client::UsageServiceClient;
use slipway_proto::inference::{
    Budget, BudgetSubject, BudgetWindow, Call, CallOutcome, CompleteRequest, CreateBudgetRequest, EstimateCostRequest,
    GetBudgetStatusRequest, GetUsageRequest, ListCallsRequest, Message, Prompt, Role, UpdateBudgetRequest, UsageDimension,
};
use slipway_rpc::{Caller, Channel, Ctx, IdentityKey, OrganisationId, ProjectId, Scope, UserId};
use slipway_testkit::daemon::Daemon;
use slipway_testkit::postgres::Postgres;
use slipway_testkit::suite::{Client, at_scale};
use slipway_testkit::{Provider, Step, Suite, SuiteOptions};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::story::{binary, fact, refused, suite_with};

/// The scripted provider says that a call has 11 tokens in and 7 out.
const COST: i64 = 18;
const PRICES: &str = "\n[inference.providers.fake.prices.scripted]\ninput_micros = 1000000\noutput_micros = 1000000\n";

fn options(provider: &Provider) -> SuiteOptions {
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str(PRICES);
    options
}

fn prompt() -> Prompt {
    let message = Message { role: Role::User.into(), text: "hello".into(), ..Default::default() };
    Prompt { messages: vec![message], max_output_tokens: 20, ..Default::default() }
}

fn complete() -> CompleteRequest {
    CompleteRequest { prompt: Some(prompt()) }
}

fn budget(subject: BudgetSubject, window: BudgetWindow, limit_micros: i64) -> CreateBudgetRequest {
    CreateBudgetRequest {
        name: "limited".into(),
        subject_kind: subject.into(),
        window: window.into(),
        limit_micros: Some(limit_micros),
        ..Default::default()
    }
}

async fn create(client: &Client, request: CreateBudgetRequest) -> Budget {
    client.budgets.clone().create_budget(request).await.unwrap().into_inner().budget.unwrap()
}

async fn calls(client: &Client) -> Vec<Call> {
    let request = ListCallsRequest { page_size: 1_000, ..Default::default() };
    client.usage.clone().list_calls(request).await.unwrap().into_inner().calls
}

#[tokio::test]
async fn a_call_is_charged_and_a_budget_ends_it() {
    let provider = Provider::saying(&["hi"]).await.unwrap();
    let suite = suite_with(options(&provider)).await;
    let client = suite.client().unwrap();
    let estimate = client.usage.clone().estimate_cost(EstimateCostRequest { prompt: Some(prompt()) }).await.unwrap().into_inner();
    assert!(estimate.priced && estimate.reserve_micros >= estimate.cost_micros, "{estimate:?}");
    let labelled = Prompt { conversation_id: Uuid::now_v7().to_string(), ..prompt() };
    let answer = client.inference.clone().complete(CompleteRequest { prompt: Some(labelled.clone()) }).await.unwrap();
    let usage = answer.into_inner().completion.unwrap().usage.unwrap();
    assert_eq!((usage.cost_micros, usage.price_version.as_str()), (COST, "settings"));

    let all = calls(&client).await;
    assert_eq!((all.len(), all[0].outcome(), all[0].model.as_str()), (1, CallOutcome::Completed, "fake/scripted"));
    assert_eq!((all[0].conversation_id.as_str(), all[0].token.as_str()), (labelled.conversation_id.as_str(), "local"));
    let by = vec![UsageDimension::Day.into(), UsageDimension::Model.into()];
    for whole_organisation in [false, true] {
        let request = GetUsageRequest { group_by: by.clone(), whole_organisation, ..Default::default() };
        let sums = client.usage.clone().get_usage(request).await.unwrap().into_inner();
        assert_eq!((sums.sums.len(), sums.total.unwrap().cost_micros), (1, COST));
    }

    let made = create(&client, budget(BudgetSubject::Organisation, BudgetWindow::Month, 2 * COST)).await;
    assert_eq!(made.thresholds, [50, 80, 100]);
    let status = refused(client.inference.clone().complete(complete()).await, Code::ResourceExhausted, "BUDGET_EXHAUSTED");
    assert_eq!((fact(&status, "budget_id"), fact(&status, "window")), (made.id.clone(), "month".to_owned()));
    let details = status.get_error_details();
    assert!(details.quota_failure().unwrap().violations[0].subject.contains(&made.id), "{details:?}");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() < Duration::from_secs(32 * 86_400));

    let change = UpdateBudgetRequest {
        budget_id: made.id.clone(),
        etag: made.etag.clone(),
        limit_micros: Some(1_000),
        ..Default::default()
    };
    client.budgets.clone().update_budget(change.clone()).await.unwrap();
    refused(client.budgets.clone().update_budget(change).await, Code::Aborted, "ETAG_MISMATCH");
    client.inference.clone().complete(complete()).await.unwrap();
    let request = GetBudgetStatusRequest { budget_id: made.id.clone(), ..Default::default() };
    let status = client.budgets.clone().get_budget_status(request).await.unwrap().into_inner().status.unwrap();
    assert_eq!((status.spent_micros, status.reserved_micros, status.left_micros), (2 * COST, 0, Some(1_000 - 2 * COST)));
}

#[tokio::test]
async fn a_request_makes_one_budget_and_tenants_have_their_own() {
    let provider = Provider::saying(&["hi"]).await.unwrap();
    let suite = suite_with(options(&provider).with_two_tenants()).await;
    let (alice, bob) = (suite.client_as("alice-admin").unwrap(), suite.client_as("bob-admin").unwrap());
    let request = CreateBudgetRequest { request_id: "r1".into(), ..budget(BudgetSubject::Project, BudgetWindow::Total, 1) };
    let (one, again) = (create(&alice, request.clone()).await, create(&alice, request.clone()).await);
    assert_eq!(one.id, again.id);
    let other = CreateBudgetRequest { name: "other".into(), ..request };
    refused(alice.budgets.clone().create_budget(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    // Her empty budget is no business of his; neither has named an organisation.
    refused(alice.inference.clone().complete(complete()).await, Code::ResourceExhausted, "BUDGET_EXHAUSTED");
    bob.inference.clone().complete(complete()).await.unwrap();
    assert_eq!((calls(&alice).await.len(), calls(&bob).await.len()), (0, 1));
    let whole = GetUsageRequest { whole_organisation: true, ..Default::default() };
    refused(bob.usage.clone().get_usage(whole).await, Code::PermissionDenied, "SCOPE_INSUFFICIENT");
    let organisation = budget(BudgetSubject::Organisation, BudgetWindow::Day, 1);
    refused(bob.budgets.clone().create_budget(organisation).await, Code::PermissionDenied, "SCOPE_INSUFFICIENT");
}

/// One `slipway serve inference`.
async fn serve(config: &Path, store: &str, name: &str) -> (Daemon, Channel) {
    let directory = config.parent().unwrap();
    let mut daemon = Daemon::new(&binary(), &["serve", "inference", "--listen", "127.0.0.1:0"], directory, name);
    let key = "the-key-of-a-suite-under-test-0123456789";
    for (variable, value) in [
        ("SLIPWAY_CONFIG", config.display().to_string()),
        ("SLIPWAY_DATA_DIR", directory.display().to_string()),
        ("SLIPWAY_STORE__URL", store.to_owned()),
        ("SLIPWAY_IDENTITY__KEY", key.to_owned()),
        ("SLIPWAY_TELEMETRY__METRICS_LISTEN", String::new()),
    ] {
        daemon.set(variable, value);
    }
    daemon.spawn().unwrap();
    let address = daemon.announced().await.unwrap();
    let key = IdentityKey::new(&key.to_owned().into()).unwrap();
    (daemon, Channel::remote(&format!("http://{address}"), &key, None).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_pass_a_limit_together() {
    let Some(server) = Postgres::shared().await else { return };
    let provider = Provider::saying(&["hi"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("slipway.toml");
    std::fs::write(&config, options(&provider).config).unwrap();
    let store = server.database().await.unwrap();
    let (mut first, one) = serve(&config, &store, "one").await;
    let (_second, other) = serve(&config, &store, "other").await;
    let organisation = OrganisationId(Uuid::now_v7());
    let caller = Caller { organisation, ..Caller::new(UserId(Uuid::now_v7()), Scope::Admin) };
    let ctx = Ctx::new(caller, ProjectId(Uuid::now_v7()), "r".into(), None, String::new());

    let limit = 40 * COST;
    let request = ctx.request(budget(BudgetSubject::Project, BudgetWindow::Day, limit));
    let made = BudgetServiceClient::new(one.clone()).create_budget(request).await.unwrap().into_inner().budget.unwrap();
    // The other process has heard of it within two seconds.
    let known = async {
        loop {
            let prompt = Prompt { max_output_tokens: 1_000_000, ..prompt() };
            let asked = ctx.request(CompleteRequest { prompt: Some(prompt) });
            match InferenceServiceClient::new(other.clone()).complete(asked).await {
                Err(status) if status.code() == Code::ResourceExhausted => return,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), known).await.expect("the budget is known");

    let calls = (0..500).map(|n| {
        let mut client = InferenceServiceClient::new(if n % 2 == 0 { one.clone() } else { other.clone() });
        let request = ctx.request(complete());
        async move { client.complete(request).await }
    });
    let answers = join_all(calls).await;
    for refusal in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert_eq!((refusal.code(), fact(refusal, "budget_id")), (Code::ResourceExhausted, made.id.clone()), "{refusal:?}");
    }
    assert!(answers.iter().any(Result::is_ok));
    first.kill();
    // What one has answered the other knows, to the last micro-dollar.
    let request = ctx.request(GetBudgetStatusRequest { budget_id: made.id, ..Default::default() });
    let status = BudgetServiceClient::new(other.clone()).get_budget_status(request).await.unwrap().into_inner().status.unwrap();
    let total = ctx.request(GetUsageRequest::default());
    let total = UsageServiceClient::new(other).get_usage(total).await.unwrap().into_inner().total.unwrap();
    assert!(status.spent_micros <= limit, "{status:?}");
    assert_eq!((status.spent_micros, status.reserved_micros), (total.cost_micros, 0));
    let answered = answers.iter().filter(|a| a.is_ok()).count() as u64;
    assert!(total.calls >= answered, "{answered} were answered, and {} are in the ledger", total.calls);
}

/// A suite with a budget that dies at a place during its next call, and is started again.
async fn killed_at(label: &str, provider: &Provider) -> (Suite, Budget) {
    let mut options = options(provider);
    options.env.push(("SLIPWAY_CRASH_AT".into(), label.into()));
    let mut suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let made = create(&client, budget(BudgetSubject::Project, BudgetWindow::Day, 1_000_000)).await;
    client.inference.clone().complete(complete()).await.expect_err("the process dies");
    suite.restart().await.unwrap();
    (suite, made)
}

#[tokio::test]
async fn a_killed_process_has_charged_its_calls_once() {
    if at_scale() {
        return slipway_testkit::tools::skipped("a_killed_process_has_charged_its_calls_once", "a lease takes a minute to end");
    }
    let provider = Provider::start(|_| vec![Step::Text("hi".into())]).await.unwrap();
    for (label, outcome) in [("inference.reserved", CallOutcome::Lost), ("inference.charged", CallOutcome::Completed)] {
        let (suite, made) = killed_at(label, &provider).await;
        let client = suite.client().unwrap();
        let swept = async {
            loop {
                let all = calls(&client).await;
                if !all.is_empty() {
                    return all;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(30), swept).await.expect("the call is in the ledger");
        assert_eq!((all.len(), all[0].outcome()), (1, outcome), "{label}");
        let cost = all[0].usage.as_ref().unwrap().cost_micros;
        assert!(if outcome == CallOutcome::Lost { cost > COST } else { cost == COST }, "{label}: {cost}");
        let request = GetBudgetStatusRequest { budget_id: made.id, ..Default::default() };
        let status = client.budgets.clone().get_budget_status(request).await.unwrap().into_inner().status.unwrap();
        assert_eq!((status.spent_micros, status.reserved_micros), (cost, 0), "{label}");
    }
}
