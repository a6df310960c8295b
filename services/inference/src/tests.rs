//! The service through its own door: a server, its local channel, a generated client.

use futures::StreamExt as _;
use slipway_bus::Bus;
use slipway_proto::inference as pb;
use slipway_proto::inference::budget_service_client::BudgetServiceClient;
use slipway_proto::inference::cache_service_client::CacheServiceClient;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::provider_key_service_client::ProviderKeyServiceClient;
use slipway_proto::inference::stream_complete_response::Event;
use slipway_proto::inference::usage_service_client::UsageServiceClient;
use slipway_rpc::{Channel, Ctx, Fault, IdentityKey, ProjectId, Reason, Running, Server, UserId};
use slipway_storage::{Durability, StoreSettings};
use slipway_telemetry::Metrics;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::provider::http::testing::{Upstream, refusal, stream};
use crate::{CatalogueSettings, Deps, Recording, Settings};

mod beside;
mod prefetch;

pub(crate) struct Suite {
    pub(crate) client: InferenceServiceClient<Channel>,
    pub(crate) cache: CacheServiceClient<Channel>,
    pub(crate) keys: ProviderKeyServiceClient<Channel>,
    pub(crate) usage: UsageServiceClient<Channel>,
    pub(crate) budgets: BudgetServiceClient<Channel>,
    pub(crate) metrics: Metrics,
    pub(crate) ctx: Ctx,
    _running: Running,
    _dir: Option<tempfile::TempDir>,
}

pub(crate) async fn suite(settings: &str) -> Suite {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite_in(settings, &dir).await;
    Suite { _dir: Some(dir), ..suite }
}

/// The same with a database that others had before, or will have.
pub(crate) async fn suite_in(settings: &str, dir: &tempfile::TempDir) -> Suite {
    suite_on(settings, deps(dir).await).await.unwrap()
}

pub(crate) async fn suite_on(settings: &str, deps: Deps) -> Result<Suite, slipway_rpc::BuildError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings: Settings = toml::from_str(settings).unwrap();
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
    let metrics = deps.metrics.clone();
    crate::build(&settings, deps, &mut server).await?;
    let client = InferenceServiceClient::new(server.channel());
    let (cache, keys) = (CacheServiceClient::new(server.channel()), ProviderKeyServiceClient::new(server.channel()));
    let (usage, budgets) = (UsageServiceClient::new(server.channel()), BudgetServiceClient::new(server.channel()));
    let running = server.start().await;
    let ctx = Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "");
    Ok(Suite { client, cache, keys, usage, budgets, metrics, ctx, _running: running, _dir: None })
}

/// A database of its own, on the engine that the environment names.
pub(crate) async fn deps(dir: &tempfile::TempDir) -> Deps {
    let url = slipway_testkit::postgres::store_url(dir.path(), "inference").await.unwrap();
    let store = StoreSettings { url, durability: Durability::Process, ..StoreSettings::default() };
    Deps { store, bus: Bus::in_process(), metrics: Metrics::new() }
}

pub(crate) fn prompt(model: &str, text: &str) -> Option<pb::Prompt> {
    let message = pb::Message { role: pb::Role::User.into(), text: text.into(), ..Default::default() };
    Some(pb::Prompt { model: model.into(), messages: vec![message], ..Default::default() })
}

fn reason(status: &Status) -> Reason {
    Fault::from_status(status).reason()
}

#[tokio::test]
async fn complete_and_stream_say_the_same() {
    let mut suite = suite("").await;
    let request = suite.ctx.request(pb::CompleteRequest { prompt: prompt("", "hello") });
    let whole = suite.client.complete(request).await.unwrap().into_inner().completion.unwrap();
    assert_eq!(whole.model, "builtin/rules");
    assert_eq!(whole.finish_reason(), pb::FinishReason::Stop);
    assert!(whole.usage.unwrap().estimated);

    let request = suite.ctx.request(pb::StreamCompleteRequest { prompt: prompt("builtin/rules", "hello") });
    let events: Vec<Event> =
        suite.client.stream_complete(request).await.unwrap().into_inner().map(|e| e.unwrap().event.unwrap()).collect().await;
    assert!(matches!(&events[0], Event::Started(s) if s.model == "builtin/rules"));
    assert!(matches!(events.last(), Some(Event::Completed(_))));
    let text: String = events.iter().filter_map(|e| if let Event::TextDelta(t) = e { Some(t.as_str()) } else { None }).collect();
    assert_eq!(text, whole.text);
    assert!(events.len() > 10);
}

#[tokio::test]
async fn unknown_models_are_not_found() {
    let mut suite = suite("").await;
    for model in ["nobody/x", "builtin/gpt", "rules"] {
        let request = suite.ctx.request(pb::CompleteRequest { prompt: prompt(model, "x") });
        let status = suite.client.complete(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::NotFound, Reason::ModelNotFound), "{model}");
        let request = suite.ctx.request(pb::TestConnectionRequest { model: model.into() });
        let status = suite.client.test_connection(request).await.unwrap_err();
        assert_eq!(reason(&status), Reason::ModelNotFound);
    }
    let request = suite.ctx.request(pb::CompleteRequest { prompt: None });
    assert_eq!(reason(&suite.client.complete(request).await.unwrap_err()), Reason::FieldInvalid);
}

#[tokio::test]
async fn a_call_without_identity_is_refused() {
    let mut suite = suite("").await;
    let status = suite.client.list_models(pb::ListModelsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn models_come_in_pages() {
    let mut suite = suite(
        "default_model = \"local/b\"\n[providers.local]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"b\", \"a/c\", \"d\"]",
    )
    .await;
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = suite.ctx.request(pb::ListModelsRequest { page_size: 2, page_token, ..Default::default() });
        let page = suite.client.list_models(request).await.unwrap().into_inner();
        assert!(page.models.len() <= 2);
        ids.extend(page.models.into_iter().map(|m| (m.id, m.default)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected = [("builtin/rules", false), ("local/a/c", false), ("local/b", true), ("local/d", false)];
    assert_eq!(ids, expected.map(|(id, default)| (id.to_owned(), default)));
    let request = suite.ctx.request(pb::ListModelsRequest { page_token: "bad".into(), ..Default::default() });
    assert_eq!(reason(&suite.client.list_models(request).await.unwrap_err()), Reason::PageTokenInvalid);
    let request = suite.ctx.request(pb::ListModelsRequest { page_size: 1001, ..Default::default() });
    assert_eq!(reason(&suite.client.list_models(request).await.unwrap_err()), Reason::FieldInvalid);
}

#[tokio::test]
async fn models_are_chosen_by_provider_and_by_what_they_can() {
    let mut suite = suite(concat!(
        "[providers.a]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"gpt-4o\", \"o3\", \"mine\"]\n",
        "[providers.b]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"gpt-4o\"]",
    ))
    .await;
    let mut list = async |provider: &str, capabilities: Vec<pb::ModelCapability>| {
        let capabilities = capabilities.into_iter().map(i32::from).collect();
        let wanted = pb::ListModelsRequest { provider: provider.into(), capabilities, ..Default::default() };
        suite.client.list_models(suite.ctx.request(wanted)).await.map(|r| r.into_inner().models)
    };
    let ids = |models: Vec<pb::Model>| models.into_iter().map(|m| m.id).collect::<Vec<_>>();
    assert_eq!(ids(list("b", vec![]).await.unwrap()), ["b/gpt-4o"]);
    assert_eq!(ids(list("nobody", vec![]).await.unwrap()), [""; 0]);
    assert_eq!(ids(list("", vec![pb::ModelCapability::Images]).await.unwrap()), ["a/gpt-4o", "a/o3", "b/gpt-4o"]);
    let both = vec![pb::ModelCapability::Reasoning, pb::ModelCapability::Tools];
    assert_eq!(ids(list("a", both).await.unwrap()), ["a/o3"]);
    assert_eq!(reason(&list("", vec![pb::ModelCapability::Unspecified]).await.unwrap_err()), Reason::FieldInvalid);

    let model = list("b", vec![]).await.unwrap().remove(0);
    assert_eq!((model.context_window, model.max_output_tokens, model.prompt_cache), (128_000, 16_384, true));
    let price = model.price.unwrap();
    assert_eq!((price.input_micros, price.cached_input_micros, price.output_micros), (2_500_000, 1_250_000, 10_000_000));
    assert!(price.version.starts_with("litellm-") && price.effective_from.len() == 10, "{price:?}");
    assert!(list("a", vec![]).await.unwrap().iter().any(|m| m.id == "a/mine" && m.price.is_none()));
}

#[tokio::test]
async fn a_connection_test_tells_and_does_not_fail() {
    let mut suite = suite("[providers.dead]\nbase_url = \"http://127.0.0.1:9/v1\"\nmax_retries = 0").await;
    let request = suite.ctx.request(pb::TestConnectionRequest::default());
    let tested = suite.client.test_connection(request).await.unwrap().into_inner();
    assert!(tested.ok && tested.model == "builtin/rules" && tested.reason.is_empty(), "{tested:?}");
    let request = suite.ctx.request(pb::TestConnectionRequest { model: "dead/x".into() });
    let tested = suite.client.test_connection(request).await.unwrap().into_inner();
    assert!(!tested.ok && tested.reason == "PROVIDER_UNAVAILABLE" && tested.advice.contains("base_url"), "{tested:?}");
}

#[tokio::test]
async fn a_connection_test_tells_for_every_protocol() {
    let bad_key = r#"{"error":{"message":"invalid key","type":"authentication_error","status":"UNAUTHENTICATED"}}"#;
    let unknown = r#"{"error":{"message":"the model does not exist","code":"model_not_found"}}"#;
    let cases = [
        (refusal("401 Unauthorized", "", bad_key), "PROVIDER_AUTH_FAILED", "api_key"),
        (refusal("404 Not Found", "", unknown), "MODEL_NOT_FOUND", "ListModels"),
        // A web server, but not an API.
        (refusal("404 Not Found", "", "<html>nothing here</html>"), "PROVIDER_REJECTED_REQUEST", "base_url"),
        (stream("<html>welcome</html>"), "PROVIDER_UNAVAILABLE", "base_url"),
    ];
    for (script, reason, advice) in cases {
        let upstream = Upstream::start(vec![script]).await;
        let base_url = upstream.settings().base_url;
        let kinds = ["openai", "responses", "anthropic", "azure", "openrouter", "ollama", "gemini"];
        let provider = |kind: &&str| {
            format!("[providers.p-{kind}]\nkind = \"{kind}\"\nbase_url = \"{base_url}\"\napi_key = \"k\"\nmax_retries = 0\n")
        };
        let mut suite = suite(&kinds.iter().map(provider).collect::<String>()).await;
        for kind in kinds {
            let request = suite.ctx.request(pb::TestConnectionRequest { model: format!("p-{kind}/m") });
            let tested = suite.client.test_connection(request).await.unwrap().into_inner();
            assert!(!tested.ok && tested.reason == reason && tested.advice.contains(advice), "{kind}: {tested:?}");
        }
    }
}

#[tokio::test]
async fn a_tool_loop_hands_the_reasoning_back() {
    let cases = [
        ("anthropic", "interleaved_thinking_and_tools", r#""signature":"c2lnMQ==""#),
        ("responses", "reasoning_and_tool", r#""encrypted_content":"gAAAAABoISQ24OyVRYbkYfukdJoqdzWT""#),
        ("gemini", "thoughts_and_tools", r#""thoughtSignature":"CiQB0e2Kb1""#),
        ("openrouter", "reasoning_details_and_tools", r#""reasoning_details":[{"#),
    ];
    for (kind, case, record) in cases {
        let file = format!("{}/recordings/{kind}/{case}.http", env!("CARGO_MANIFEST_DIR"));
        let recording = Recording::parse(&std::fs::read(&file).unwrap()).unwrap();
        let body = String::from_utf8(recording.body).unwrap();
        let mut upstream = Upstream::start(vec![stream(&body)]).await;
        let base_url = upstream.settings().base_url;
        let mut suite = suite(&format!("[providers.p]\nkind = \"{kind}\"\nbase_url = \"{base_url}\"")).await;
        let mut asked = prompt("p/claude-sonnet-4-5", "look").unwrap();
        asked.reasoning_effort = pb::ReasoningEffort::Low.into();
        let tool = pb::Tool { name: "view".into(), parameters_json: "{\"type\":\"object\"}".into(), ..Default::default() };
        asked.tools.push(tool);
        let request = suite.ctx.request(pb::CompleteRequest { prompt: Some(asked.clone()) });
        let answer = suite.client.complete(request).await.unwrap().into_inner().completion.unwrap();
        assert!(!answer.reasoning_state.is_empty(), "{kind}");
        assert!(!upstream.bodies.recv().await.unwrap().contains(record), "{kind}");

        let (role, tool_calls) = (pb::Role::Assistant.into(), answer.tool_calls.clone());
        let reasoning_state = answer.reasoning_state;
        asked.messages.push(pb::Message { role, text: answer.text, tool_calls, reasoning_state, ..Default::default() });
        for call in answer.tool_calls {
            let (role, text) = (pb::Role::Tool.into(), "ok".into());
            asked.messages.push(pb::Message { role, text, tool_call_id: call.id, ..Default::default() });
        }
        let request = suite.ctx.request(pb::CompleteRequest { prompt: Some(asked) });
        suite.client.complete(request).await.unwrap();
        let sent = upstream.bodies.recv().await.unwrap();
        assert!(sent.contains(record), "{kind}: {sent}");
    }
}

#[tokio::test]
async fn a_failing_provider_is_a_status_with_its_reason() {
    let mut suite = suite("[providers.dead]\nbase_url = \"http://127.0.0.1:9/v1\"\nmax_retries = 0").await;
    let request = suite.ctx.request(pb::StreamCompleteRequest { prompt: prompt("dead/x", "x") });
    let mut events = suite.client.stream_complete(request).await.unwrap().into_inner();
    let status = events.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Reason::ProviderUnavailable));
}

#[tokio::test]
async fn bad_settings_stop_the_start() {
    let settings = Settings { default_model: "nonsense".into(), ..Settings::default() };
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
    let error = crate::build(&settings, deps(&tempfile::tempdir().unwrap()).await, &mut server).await.unwrap_err();
    assert!(error.to_string().contains("inference.default_model"));
    let catalogue = CatalogueSettings { path: Some("/nowhere/models.json".into()) };
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
    let settings = Settings { catalogue, ..Settings::default() };
    let error = crate::build(&settings, deps(&tempfile::tempdir().unwrap()).await, &mut server).await.unwrap_err();
    assert!(
        error.to_string().contains("inference.catalogue") && format!("{error:?}").contains("/nowhere/models.json"),
        "{error:?}"
    );
}
