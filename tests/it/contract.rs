//! What every RPC promises about bad input, shown for all of them from the descriptor set: a new RPC cannot be forgotten.

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use slipway_testkit::SuiteOptions;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::raw::{call, methods, policy};
use crate::story::{self, reason, suite, suite_with};

/// Its number; administering has the next one.
const WRITE: i32 = 2;

/// Ids of resources, by the name of the field that takes them.
type Ids = dyn Fn(&str) -> String + Send + Sync;

fn nobody(_: &str) -> String {
    Uuid::now_v7().to_string()
}

/// What the proto says about a field.
fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file().file_descriptor_proto().clone();
    let locations = file.source_code_info.map(|info| info.location).unwrap_or_default();
    let found = locations.into_iter().find(|l| l.path == field.path());
    found.and_then(|l| l.leading_comments).unwrap_or_default().replace('\n', " ")
}

/// The largest number of characters that the comment allows.
fn character_limit(field: &FieldDescriptor) -> Option<usize> {
    let comment = comment(field);
    let before = comment.split(" characters").next().filter(|b| b.len() < comment.len())?;
    before.rsplit([' ']).next()?.replace(',', "").parse().ok()
}

/// A resource id, but not the id of a call.
fn is_id(field: &FieldDescriptor) -> bool {
    (field.name().ends_with("_id") && field.name() != "request_id")
        || (field.name() == "id" && field.parent_message().name() == "Conversation")
}

/// A message that is right but for its ids.
fn fill(descriptor: &MessageDescriptor, ids: &Ids) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut chosen = Vec::new();
    for field in descriptor.fields() {
        if let Some(oneof) = field.containing_oneof() {
            if field.supports_presence() && oneof.is_synthetic() || chosen.contains(&oneof.name().to_owned()) {
                continue;
            }
            chosen.push(oneof.name().to_owned());
        }
        let Some(value) = example(&field, ids) else { continue };
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        message.set_field(&field, value);
    }
    message
}

fn example(field: &FieldDescriptor, ids: &Ids) -> Option<Value> {
    let required = comment(field).contains("Required");
    match field.kind() {
        Kind::String if is_id(field) => (required || field.name() == "id").then(|| Value::String(ids(field.name()))),
        Kind::String => match field.name() {
            "path" => Some(Value::String("values.yaml".into())),
            "url" => Some(Value::String("https://example.com/x".into())),
            "paths" => Some(Value::String("title".into())),
            "name" | "chart" | "title" | "key" | "text" | "texts" | "query" | "pattern" | "request" | "instructions"
            | "message" => Some(Value::String("replicas".into())),
            _ => None,
        },
        Kind::Enum(kind) => (required || field.name() == "role").then(|| {
            let user = kind.values().find(|v| v.name() == "ROLE_USER").or_else(|| kind.values().nth(1));
            Value::EnumNumber(user.map_or(1, |v| v.number()))
        }),
        Kind::Uint32 if field.name() == "version" => Some(Value::U32(1)),
        Kind::Bytes => Some(Value::Bytes("x: 1\n".into())),
        Kind::Message(kind) if !kind.full_name().ends_with("Timestamp") && !kind.full_name().ends_with(".Tool") => {
            (!kind.full_name().ends_with("ToolCall")).then(|| Value::Message(fill(&kind, ids)))
        }
        _ => None,
    }
}

/// Every string field below a message, with the way to it.
fn strings(descriptor: &MessageDescriptor) -> Vec<(Vec<FieldDescriptor>, FieldDescriptor)> {
    let mut found = Vec::new();
    for field in descriptor.fields() {
        match field.kind() {
            Kind::String => found.push((Vec::new(), field)),
            Kind::Message(kind) if kind.full_name().starts_with("slipway.") && !field.is_list() => {
                for (mut way, leaf) in strings(&kind) {
                    way.insert(0, field.clone());
                    found.push((way, leaf));
                }
            }
            _ => {}
        }
    }
    found
}

/// The message with one field replaced.
fn with(mut message: DynamicMessage, way: &[FieldDescriptor], leaf: &FieldDescriptor, value: &str) -> DynamicMessage {
    match way.split_first() {
        None => {
            let value = Value::String(value.to_owned());
            message.set_field(leaf, if leaf.is_list() { Value::List(vec![value]) } else { value });
        }
        Some((next, rest)) => {
            let Value::Message(inner) = message.get_field(next).into_owned() else { panic!("not a message") };
            message.set_field(next, Value::Message(with(inner, rest, leaf, value)));
        }
    }
    message
}

/// Whether a field is read: of an update's resource only the id and what the example's mask names.
fn is_input(way: &[FieldDescriptor], leaf: &FieldDescriptor) -> bool {
    let of_resource = way.iter().any(|f| matches!(f.kind(), Kind::Message(m) if m.name() == "Conversation"));
    !of_resource || matches!(leaf.name(), "id" | "title")
}

fn names_field(status: &Status, field: &str) -> bool {
    let details = status.get_error_details();
    details.bad_request().is_some_and(|b| b.field_violations.iter().any(|v| v.field.contains(field)))
}

fn resource(method: &MethodDescriptor) -> bool {
    let all = strings(&method.input());
    all.iter().any(|(_, f)| is_id(f) && (comment(f).contains("Required") || f.name() == "id"))
}

#[tokio::test]
async fn without_a_token_every_method_is_unauthenticated() {
    let suite = suite_with(SuiteOptions::default().with_two_tenants()).await;
    let client = suite.client().unwrap();
    for method in methods() {
        let status = call(&client.wire, &method, fill(&method.input(), &nobody).encode_to_vec()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unauthenticated, "CREDENTIALS_MISSING"),
            "{}",
            method.full_name()
        );
    }
}

#[tokio::test]
async fn a_read_token_changes_nothing() {
    let suite = suite_with(SuiteOptions::default().with_two_tenants()).await;
    let client = suite.client_as("alice-read").unwrap();
    for method in methods().into_iter().filter(|m| policy(m, "scope") >= WRITE) {
        let status = call(&client.wire, &method, fill(&method.input(), &nobody).encode_to_vec()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "SCOPE_INSUFFICIENT"),
            "{}",
            method.full_name()
        );
        assert_eq!(story::fact(&status, "granted"), "read");
    }
}

#[tokio::test]
async fn an_unknown_id_is_not_found() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for method in methods().into_iter().filter(resource) {
        let status = call(&client.wire, &method, fill(&method.input(), &nobody).encode_to_vec()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{}: {status:?}", method.full_name());
        assert!(reason(&status).ends_with("_NOT_FOUND"), "{}: {status:?}", method.full_name());
    }
}

#[tokio::test]
async fn another_tenants_id_is_not_found() {
    let suite = suite_with(SuiteOptions::default().with_two_tenants()).await;
    let alice = suite.client_as("alice-write").unwrap();
    let (workspace, revision) = story::workspace(&alice, &story::small_chart()).await;
    story::indexed(&alice, &workspace, 1).await;
    let conversation = story::conversation(&alice, &workspace).await;
    let events = story::say(&alice, &conversation.id, "set gateway.replicas to 3").await;
    let (run, _) = story::completed(&events);
    assert!(!run.plan_id.is_empty(), "the message makes a plan");
    let before = everything(&alice, &workspace, &conversation.id, &run.plan_id).await;

    let bob = suite.client_as("bob-admin").unwrap();
    let budget_id = budget(&suite.client_as("alice-admin").unwrap()).await;
    let overlay = slipway_proto::filestore::CreateOverlayRequest { workspace_id: workspace.clone(), ..Default::default() };
    let overlay_id = alice.overlays.clone().create_overlay(overlay).await.unwrap().into_inner().overlay.unwrap().id;
    let (conversation_id, run_id, plan_id) = (conversation.id.clone(), run.id.clone(), run.plan_id.clone());
    let (workspace_id, revision_id) = (workspace.clone(), revision.id.clone());
    let hers = move |field: &str| match field {
        "workspace_id" => workspace_id.clone(),
        "conversation_id" | "id" => conversation_id.clone(),
        "run_id" => run_id.clone(),
        "plan_id" | "open_plan_id" => plan_id.clone(),
        "budget_id" => budget_id.clone(),
        "overlay_id" => overlay_id.clone(),
        // Hers must die first: see `letters`.
        "dead_letter_id" | "provider_key_id" | "upload_id" => Uuid::now_v7().to_string(),
        f if f.ends_with("revision_id") => revision_id.clone(),
        other => panic!("no example for {other}"),
    };
    for method in methods().into_iter().filter(resource) {
        let status = call(&bob.wire, &method, fill(&method.input(), &hers).encode_to_vec()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{}: {status:?}", method.full_name());
    }
    assert_eq!(before, everything(&alice, &workspace, &conversation.id, &run.plan_id).await, "nothing of hers has changed");
}

/// A budget of the caller's project.
async fn budget(client: &slipway_testkit::suite::Client) -> String {
    use slipway_proto::inference as i;
    let request = i::CreateBudgetRequest {
        name: "hers".into(),
        subject_kind: i::BudgetSubject::Project.into(),
        window: i::BudgetWindow::Total.into(),
        limit_micros: Some(1_000_000),
        ..Default::default()
    };
    client.budgets.clone().create_budget(request).await.unwrap().into_inner().budget.unwrap().id
}

/// What alice can see of her things, in words.
async fn everything(client: &slipway_testkit::suite::Client, workspace: &str, conversation: &str, plan: &str) -> String {
    use slipway_proto::{conversation as c, filestore as f, planner as p};
    let mut client = client.clone();
    let w = client.files.get_workspace(f::GetWorkspaceRequest { workspace_id: workspace.into() }).await.unwrap();
    let c =
        client.conversation.get_conversation(c::GetConversationRequest { conversation_id: conversation.into() }).await.unwrap();
    let p = client.planner.get_plan(p::GetPlanRequest { plan_id: plan.into() }).await.unwrap();
    format!("{:?} {:?} {:?}", w.into_inner(), c.into_inner(), p.into_inner())
}

#[tokio::test]
async fn a_missing_required_field_is_named() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let mut tried = 0;
    for method in methods() {
        for (way, leaf) in strings(&method.input()) {
            let required = comment(&leaf).contains("Required") || comment(&leaf).contains(" 1 to ");
            if !required || leaf.is_list() || !is_input(&way, &leaf) {
                continue;
            }
            let message = with(fill(&method.input(), &nobody), &way, &leaf, "");
            let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
            let at = format!("{}.{}: {status:?}", method.full_name(), leaf.name());
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"), "{at}");
            assert!(names_field(&status, leaf.name()), "{at}");
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} required fields were found");
}

#[tokio::test]
async fn a_malformed_id_is_named() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for method in methods() {
        for (way, leaf) in strings(&method.input()) {
            if !is_id(&leaf) || !is_input(&way, &leaf) {
                continue;
            }
            let message = with(fill(&method.input(), &nobody), &way, &leaf, "../1 or 1=1");
            let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
            let at = format!("{}.{}: {status:?}", method.full_name(), leaf.name());
            assert_eq!(status.code(), Code::InvalidArgument, "{at}");
            assert!(names_field(&status, leaf.name()), "{at}");
        }
    }
}

#[tokio::test]
async fn an_oversized_field_is_named_with_its_limit() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let mut tried = 0;
    for method in methods() {
        for (way, leaf) in strings(&method.input()) {
            let Some(limit) = character_limit(&leaf).filter(|_| is_input(&way, &leaf)) else { continue };
            let message = with(fill(&method.input(), &nobody), &way, &leaf, &"x".repeat(limit + 1));
            let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
            let at = format!("{}.{}: {status:?}", method.full_name(), leaf.name());
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"), "{at}");
            assert!(names_field(&status, leaf.name()), "{at}");
            tried += 1;
        }
    }
    assert!(tried > 15, "only {tried} limits were found");
}

#[tokio::test]
async fn a_nul_in_text_is_refused() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for method in methods() {
        for (way, leaf) in strings(&method.input()) {
            if !is_input(&way, &leaf)
                || matches!(leaf.name(), "parameters_json" | "arguments_json" | "tool_call_id" | "page_token")
            {
                continue;
            }
            let message = with(fill(&method.input(), &nobody), &way, &leaf, "a\0b");
            let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
            let at = format!("{}.{}: {status:?}", method.full_name(), leaf.name());
            assert_eq!(status.code(), Code::InvalidArgument, "{at}");
            reason(&status);
        }
    }
}

#[tokio::test]
async fn invalid_utf8_is_refused() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for method in methods() {
        let input = method.input();
        let Some(leaf) = input.fields().find(|f| matches!(f.kind(), Kind::String)) else { continue };
        let key = u8::try_from(leaf.number() << 3 | 2).unwrap();
        let status = call(&client.wire, &method, vec![key, 2, 0xff, 0xfe]).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "FIELD_INVALID"),
            "{}: {status:?}",
            method.full_name()
        );
    }
}

#[tokio::test]
async fn a_page_token_of_elsewhere_is_refused() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, revision) = story::workspace(&client, &story::small_chart()).await;
    let conversation = story::conversation(&client, &workspace).await;
    let mut tried = 0;
    for method in methods() {
        let input = method.input();
        let Some(token) = input.get_field_by_name("page_token") else { continue };
        let (talk, revision, workspace) = (conversation.id.clone(), revision.id.clone(), workspace.clone());
        let ids = move |field: &str| match field {
            "conversation_id" => talk.clone(),
            f if f.ends_with("revision_id") => revision.clone(),
            _ => workspace.clone(),
        };
        for bad in ["x", "AAAA", "eyJhIjoxfQ", &"A".repeat(3000)] {
            let message = with(fill(&input, &ids), &[], &token, bad);
            let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
            let at = format!("{} {bad:.10}: {status:?}", method.full_name());
            assert_eq!(status.code(), Code::InvalidArgument, "{at}");
            assert!(matches!(reason(&status).as_str(), "PAGE_TOKEN_INVALID" | "FIELD_INVALID"), "{at}");
        }
        let size = input.get_field_by_name("page_size").unwrap();
        let mut message = fill(&input, &ids);
        message.set_field(&size, Value::U32(100_000));
        let status = call(&client.wire, &method, message.encode_to_vec()).await.unwrap_err();
        assert!(names_field(&status, "page_size"), "{}: {status:?}", method.full_name());
        tried += 1;
    }
    assert!(tried >= 6, "only {tried} lists were found");
}
