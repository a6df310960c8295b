//! Between the API's messages and the model's types. What callers send is checked here.

use prost::Message as _;
use slipway_proto::conversation as pb;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::{inference, planner};
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use crate::model::{
    Author, Citation, Conversation, ConversationChange, Failure, Intent, IntentKind, Message, Run, RunState, Usage,
};
use crate::prompt::{Role, Turn};

const MAX_TITLE: usize = 200;
const MAX_MODEL: usize = 200;
const MAX_TEXT: usize = 100_000;
const MAX_REQUEST_ID: usize = 100;
const MAX_PAGE: u32 = 1_000;

/// A caller's request id with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) id: String,
    pub(crate) payload_hash: Vec<u8>,
}

/// What CreateConversation asks for.
#[derive(Clone, Debug)]
pub(crate) struct NewConversation {
    pub(crate) title: String,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) request: Option<RequestKey>,
}

/// What UpdateConversation asks for.
#[derive(Clone, Debug)]
pub(crate) struct UpdateConversation {
    pub(crate) id: Uuid,
    pub(crate) etag: Option<String>,
    pub(crate) change: ConversationChange,
}

/// What SendMessage asks for.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) conversation_id: Uuid,
    pub(crate) text: String,
    pub(crate) model: String,
    pub(crate) cancel_on_disconnect: bool,
    pub(crate) request: Option<RequestKey>,
}

pub(crate) fn new_conversation(request: pb::CreateConversationRequest) -> Result<NewConversation, Fault> {
    let mut check = Check::new();
    let title = line(&mut check, "title", &request.title, MAX_TITLE);
    let workspace_id = check.optional_uuid("workspace_id", &request.workspace_id);
    let model = line(&mut check, "model", &request.model, MAX_MODEL);
    let id = check.text("request_id", &request.request_id, 0, MAX_REQUEST_ID);
    check.finish()?;
    let request = request_key(id, &pb::CreateConversationRequest { request_id: String::new(), ..request });
    Ok(NewConversation { title, workspace_id, model, request })
}

pub(crate) fn update_conversation(request: pb::UpdateConversationRequest) -> Result<UpdateConversation, Fault> {
    let mut check = Check::new();
    check.ensure(request.conversation.is_some(), "conversation", "is required");
    let given = request.conversation.unwrap_or_default();
    let id = check.uuid("conversation.id", &given.id);
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    check.ensure(!paths.is_empty(), "update_mask", "is required: name what to change");
    let mut change = ConversationChange::default();
    for path in paths {
        match path.as_str() {
            "title" => change.title = Some(line(&mut check, "conversation.title", &given.title, MAX_TITLE)),
            "model" => change.model = Some(line(&mut check, "conversation.model", &given.model, MAX_MODEL)),
            "pinned" => change.pinned = Some(given.pinned),
            _ => check.fail("update_mask", "may name title, pinned and model"),
        }
    }
    let etag = check.text("conversation.etag", &given.etag, 0, 200);
    check.finish()?;
    Ok(UpdateConversation { id, etag: (!etag.is_empty()).then_some(etag), change })
}

pub(crate) fn new_message(request: pb::SendMessageRequest) -> Result<NewMessage, Fault> {
    let mut check = Check::new();
    let conversation_id = check.uuid("conversation_id", &request.conversation_id);
    let text = check.text("text", &request.text, 1, MAX_TEXT);
    let model = line(&mut check, "model", &request.model, MAX_MODEL);
    let id = check.text("request_id", &request.request_id, 0, MAX_REQUEST_ID);
    let policy = pb::DisconnectPolicy::try_from(request.disconnect_policy);
    check.ensure(policy.is_ok(), "disconnect_policy", "is not known");
    check.finish()?;
    let cancel_on_disconnect = policy == Ok(pb::DisconnectPolicy::Cancel);
    let request = request_key(id, &pb::SendMessageRequest { request_id: String::new(), ..request });
    Ok(NewMessage { conversation_id, text, model, cancel_on_disconnect, request })
}

/// One required id.
pub(crate) fn id(field: &str, value: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid(field, value);
    check.finish().map(|()| id)
}

pub(crate) fn conversations_page(request: &pb::ListConversationsRequest) -> Result<u32, Fault> {
    let mut check = Check::new();
    let size = check.page_size("page_size", request.page_size, 50, MAX_PAGE);
    check.finish().map(|()| size)
}

pub(crate) fn messages_page(request: &pb::ListMessagesRequest) -> Result<(Uuid, u32), Fault> {
    let mut check = Check::new();
    let id = check.uuid("conversation_id", &request.conversation_id);
    let size = check.page_size("page_size", request.page_size, 100, MAX_PAGE);
    check.finish().map(|()| (id, size))
}

/// Text without line ends.
fn line(check: &mut Check, field: &str, value: &str, max: usize) -> String {
    let text = check.text(field, value, 0, max);
    check.ensure(!value.contains(['\n', '\r']), field, "holds a line end");
    text
}

fn request_key(id: String, payload: &impl prost::Message) -> Option<RequestKey> {
    if id.is_empty() {
        return None;
    }
    Some(RequestKey { id, payload_hash: blake3::hash(&payload.encode_to_vec()).as_bytes().to_vec() })
}

fn text_of(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

pub(crate) fn conversation(c: Conversation) -> pb::Conversation {
    pb::Conversation {
        id: c.id.to_string(),
        project_id: c.project.to_string(),
        etag: c.etag(),
        title: c.title,
        workspace_id: text_of(c.workspace_id),
        model: c.model,
        pinned: c.pinned,
        message_count: c.message_count,
        active_run_id: text_of(c.active_run_id),
        create_time: Some(timestamp(c.create_time)),
        update_time: Some(timestamp(c.update_time)),
    }
}

pub(crate) fn message(m: Message) -> pb::Message {
    let author = match m.author {
        Author::User => pb::Author::User,
        Author::Assistant => pb::Author::Assistant,
    };
    pb::Message {
        id: m.id.to_string(),
        conversation_id: m.conversation_id.to_string(),
        number: m.number,
        author: author.into(),
        text: m.text,
        run_id: m.run_id.to_string(),
        partial: m.partial,
        citations: m.citations.into_iter().map(citation).collect(),
        plan_id: text_of(m.plan_id),
        usage: m.usage.map(usage),
        create_time: Some(timestamp(m.create_time)),
    }
}

pub(crate) fn citation(c: Citation) -> pb::Citation {
    let Citation { index, revision_id, path, start_line, end_line, score } = c;
    pb::Citation { index, revision_id, path, start_line, end_line, score }
}

pub(crate) fn citation_of(c: pb::Citation) -> Citation {
    let pb::Citation { index, revision_id, path, start_line, end_line, score } = c;
    Citation { index, revision_id, path, start_line, end_line, score }
}

pub(crate) fn run(r: Run) -> pb::Run {
    let state = match r.state {
        RunState::Running => pb::RunState::Running,
        RunState::Completed => pb::RunState::Completed,
        RunState::Failed => pb::RunState::Failed,
        RunState::Cancelled => pb::RunState::Cancelled,
    };
    pb::Run {
        id: r.id.to_string(),
        conversation_id: r.conversation_id.to_string(),
        user_message_id: r.user_message_id.to_string(),
        answer_message_id: text_of(r.answer_message_id),
        state: state.into(),
        intent: r.intent.map(intent),
        plan_id: text_of(r.plan_id),
        attempt: r.attempt,
        model: r.model,
        usage: r.usage.map(usage),
        failure: r.failure.map(|Failure { reason, message }| pb::RunFailure { reason, message }),
        last_sequence: r.last_sequence,
        create_time: Some(timestamp(r.create_time)),
        update_time: Some(timestamp(r.update_time)),
    }
}

pub(crate) fn usage(u: Usage) -> inference::Usage {
    inference::Usage {
        input_tokens: u.input_tokens,
        output_tokens: u.output_tokens,
        cached_input_tokens: u.cached_input_tokens,
        reasoning_tokens: u.reasoning_tokens,
        estimated: u.estimated,
        cost_micros: u.cost_micros,
        price_version: u.price_version,
        ..Default::default()
    }
}

pub(crate) fn usage_of(u: inference::Usage) -> Usage {
    Usage {
        input_tokens: u.input_tokens,
        output_tokens: u.output_tokens,
        cached_input_tokens: u.cached_input_tokens,
        reasoning_tokens: u.reasoning_tokens,
        estimated: u.estimated,
        cost_micros: u.cost_micros,
        price_version: u.price_version,
    }
}

pub(crate) fn intent(i: Intent) -> planner::Intent {
    let kind = match i.kind {
        IntentKind::Converse => planner::IntentKind::Converse,
        IntentKind::Plan => planner::IntentKind::Plan,
        IntentKind::Proceed => planner::IntentKind::Proceed,
        IntentKind::Render => planner::IntentKind::Render,
        IntentKind::OffTopic => planner::IntentKind::OffTopic,
        IntentKind::Unclear => planner::IntentKind::Unclear,
    };
    planner::Intent { kind: kind.into(), confidence: i.confidence, reason: i.reason, by_rule: i.by_rule }
}

/// `None` for a kind that we do not know.
pub(crate) fn intent_of(i: planner::Intent) -> Option<Intent> {
    let kind = match i.kind() {
        planner::IntentKind::Unspecified => return None,
        planner::IntentKind::Converse => IntentKind::Converse,
        planner::IntentKind::Plan => IntentKind::Plan,
        planner::IntentKind::Proceed => IntentKind::Proceed,
        planner::IntentKind::Render => IntentKind::Render,
        planner::IntentKind::OffTopic => IntentKind::OffTopic,
        planner::IntentKind::Unclear => IntentKind::Unclear,
    };
    Some(Intent { kind, confidence: i.confidence, reason: i.reason, by_rule: i.by_rule })
}

pub(crate) fn prompt_message(turn: Turn) -> inference::Message {
    let role = match turn.role {
        Role::System => inference::Role::System,
        Role::User => inference::Role::User,
        Role::Assistant => inference::Role::Assistant,
    };
    inference::Message { role: role.into(), text: turn.text, ..Default::default() }
}

/// The terminal event of a run.
pub(crate) fn ended(r: Run, m: Option<Message>) -> Event {
    let state = r.state;
    let ended = pb::RunEnded { run: Some(run(r)), message: m.map(message) };
    match state {
        RunState::Failed => Event::Failed(ended),
        RunState::Cancelled => Event::Cancelled(ended),
        RunState::Running | RunState::Completed => Event::Completed(ended),
    }
}

/// Whether nothing follows an event.
pub(crate) fn is_terminal(event: &pb::RunEvent) -> bool {
    matches!(event.event, Some(Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_)))
}

/// An event of a run. What a client can do without is marked so.
pub(crate) fn event(run_id: String, sequence: u64, now: i64, event: Event) -> pb::RunEvent {
    let ignorable = matches!(
        event,
        Event::Snapshot(_) | Event::Heartbeat(_) | Event::Intent(_) | Event::Context(_) | Event::Reasoning(_) | Event::Usage(_)
    );
    pb::RunEvent { sequence, create_time: Some(timestamp(now)), ignorable, run_id, event: Some(event) }
}

/// An event as it is stored, and sent to everyone who watches.
pub(crate) fn encode_event(run_id: &Uuid, sequence: u64, now: i64, what: Event) -> bytes::Bytes {
    event(run_id.to_string(), sequence, now, what).encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fault: &Fault) -> Vec<&str> {
        fault.violations().iter().map(|v| v.field.as_str()).collect()
    }

    fn send() -> pb::SendMessageRequest {
        pb::SendMessageRequest { conversation_id: Uuid::now_v7().to_string(), text: "hello".into(), ..Default::default() }
    }

    #[test]
    fn a_message_needs_a_conversation_and_words() {
        let bad = pb::SendMessageRequest { text: " \n".into(), disconnect_policy: 9, ..Default::default() };
        assert_eq!(fields(&new_message(bad).unwrap_err()), ["conversation_id", "text", "disconnect_policy"]);
        let long = pb::SendMessageRequest { text: "é".repeat(MAX_TEXT + 1), ..send() };
        assert_eq!(fields(&new_message(long).unwrap_err()), ["text"]);
        new_message(pb::SendMessageRequest { text: "é".repeat(MAX_TEXT), ..send() }).unwrap();
    }

    #[test]
    fn a_request_is_the_same_whatever_its_id() {
        let first = pb::SendMessageRequest { request_id: "a".into(), ..send() };
        let other_id = pb::SendMessageRequest { request_id: "b".into(), ..first.clone() };
        let other_text = pb::SendMessageRequest { text: "bye".into(), ..first.clone() };
        let hash = |r| new_message(r).unwrap().request.unwrap().payload_hash;
        assert_eq!(hash(first.clone()), hash(other_id));
        assert_ne!(hash(first), hash(other_text));
        assert!(new_message(send()).unwrap().request.is_none());
    }

    #[test]
    fn an_update_names_what_it_changes() {
        let given =
            pb::Conversation { id: Uuid::now_v7().to_string(), title: "t".into(), model: "m".into(), ..Default::default() };
        let mask = |paths: &[&str]| prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() };
        let request =
            |paths: &[&str]| pb::UpdateConversationRequest { conversation: Some(given.clone()), update_mask: Some(mask(paths)) };
        let update = update_conversation(request(&["title"])).unwrap();
        assert_eq!(update.change, ConversationChange { title: Some("t".into()), ..Default::default() });
        assert_eq!(fields(&update_conversation(request(&["etag"])).unwrap_err()), ["update_mask"]);
        assert_eq!(fields(&update_conversation(request(&[])).unwrap_err()), ["update_mask"]);
        let nothing = update_conversation(pb::UpdateConversationRequest::default()).unwrap_err();
        assert_eq!(fields(&nothing), ["conversation", "conversation.id", "update_mask"]);
    }

    #[test]
    fn titles_and_models_are_one_line() {
        let bad = pb::CreateConversationRequest {
            title: "a\nb".into(),
            workspace_id: "x".into(),
            model: "m".repeat(201),
            request_id: "r".repeat(101),
        };
        assert_eq!(fields(&new_conversation(bad).unwrap_err()), ["title", "workspace_id", "model", "request_id"]);
    }

    #[test]
    fn an_event_is_the_same_after_decoding_and_encoding() {
        let bytes = encode_event(&Uuid::now_v7(), 7, 1_700_000_000_000_001, Event::Text(pb::TextDelta { text: "ü".into() }));
        assert_eq!(pb::RunEvent::decode(bytes.clone()).unwrap().encode_to_vec(), bytes);
    }
}
