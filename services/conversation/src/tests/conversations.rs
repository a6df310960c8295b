//! Conversations: made, listed, changed, deleted; and nobody else's.

use slipway_proto::conversation as pb;
use slipway_proto::conversation::run_event::Event;
use slipway_rpc::{Ctx, Reason};
use uuid::Uuid;

use super::fakes::Say;
use super::suite::{Suite, ended, is_text, message, next, reason, rest, until};

async fn update(suite: &Suite, ctx: &Ctx, given: pb::Conversation, paths: &[&str]) -> Result<pb::Conversation, tonic::Status> {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let request = pb::UpdateConversationRequest { conversation: Some(given), update_mask };
    Ok(suite.client().update_conversation(ctx.request(request)).await?.into_inner().conversation.unwrap())
}

async fn list(suite: &Suite, page_size: u32, page_token: &str) -> Result<pb::ListConversationsResponse, tonic::Status> {
    let request = pb::ListConversationsRequest { page_size, page_token: page_token.into() };
    Ok(suite.client().list_conversations(suite.ctx.request(request)).await?.into_inner())
}

#[tokio::test]
async fn a_workspace_must_exist() {
    let suite = Suite::start().await;
    let workspace_id = Uuid::now_v7().to_string();
    let refused = suite.create(pb::CreateConversationRequest { workspace_id, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(refused), Reason::WorkspaceNotFound);
    let made = suite.get(&suite.conversation_about_workspace().await).await;
    assert_eq!(made.workspace_id, suite.world.workspace.to_string());
}

#[tokio::test]
async fn creating_twice_with_one_request_id_makes_one() {
    let suite = Suite::start().await;
    let request = pb::CreateConversationRequest { title: "t".into(), request_id: "r".into(), ..Default::default() };
    let all = futures::future::join_all((0..50).map(|_| suite.create(request.clone()))).await;
    let ids: std::collections::HashSet<_> = all.into_iter().map(|c| c.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let other = pb::CreateConversationRequest { title: "u".into(), ..request };
    assert_eq!(reason(suite.create(other).await.unwrap_err()), Reason::RequestIdReused);
}

#[tokio::test]
async fn a_title_that_a_person_set_stays() {
    let suite = Suite::start().await;
    let named = suite.create(pb::CreateConversationRequest { title: "Mine".into(), ..Default::default() }).await.unwrap();
    suite.ask(&named.id, "A first message").await;
    assert_eq!(suite.get(&named.id).await.title, "Mine");

    let unnamed = suite.conversation().await;
    suite.ask(&unnamed, "A first message").await;
    suite.ask(&unnamed, "A second message").await;
    let made = suite.get(&unnamed).await;
    assert_eq!(made.title, "A first message");
    let renamed =
        update(&suite, &suite.ctx, pb::Conversation { title: "Ours".into(), ..made.clone() }, &["title"]).await.unwrap();
    assert_eq!(renamed.title, "Ours");
    let stale = update(&suite, &suite.ctx, pb::Conversation { pinned: true, ..made.clone() }, &["pinned"]).await.unwrap_err();
    assert_eq!(reason(stale), Reason::EtagMismatch);
    let given_back = update(&suite, &suite.ctx, pb::Conversation { title: String::new(), ..renamed }, &["title"]).await.unwrap();
    assert_eq!(given_back.title, "A first message");
}

#[tokio::test]
async fn pages_hold_each_conversation_once() {
    let suite = Suite::start().await;
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(suite.conversation().await);
    }
    for id in [&ids[3], &ids[17]] {
        update(&suite, &suite.ctx, pb::Conversation { id: id.clone(), pinned: true, ..Default::default() }, &["pinned"])
            .await
            .unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&suite, 7, &token).await.unwrap();
        assert!(page.conversations.len() <= 7);
        seen.extend(page.conversations.into_iter().map(|c| c.id));
        // Newer ones do not move what follows.
        suite.conversation().await;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut expected = vec![ids[17].clone(), ids[3].clone()];
    expected.extend(ids.iter().rev().filter(|id| **id != ids[3] && **id != ids[17]).cloned());
    assert_eq!(seen, expected);
    let page = list(&suite, 7, "").await.unwrap();
    let mut tampered = page.next_page_token;
    tampered.push('x');
    assert_eq!(reason(list(&suite, 7, &tampered).await.unwrap_err()), Reason::PageTokenInvalid);
    assert_eq!(reason(list(&suite, 1001, "").await.unwrap_err()), Reason::FieldInvalid);
}

#[tokio::test]
async fn messages_come_in_pages() {
    let suite = Suite::start().await;
    let conversation_id = suite.conversation().await;
    for n in 0..3 {
        suite.ask(&conversation_id, &format!("Question {n}")).await;
    }
    let (mut numbers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListMessagesRequest { conversation_id: conversation_id.clone(), page_size: 4, page_token };
        let page = suite.client().list_messages(suite.ctx.request(request)).await.unwrap().into_inner();
        numbers.extend(page.messages.iter().map(|m| m.number));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn deleting_ends_the_run_and_leaves_nothing() {
    let suite = Suite::start().await;
    let conversation_id = suite.conversation().await;
    suite.ask(&conversation_id, "One.").await;
    suite.world.script([Say::Text("Never "), Say::Gate]);
    let mut stream = suite.say(&conversation_id, "Two.").await;
    let run_id = until(&mut stream, is_text).await[0].run_id.clone();
    let request = pb::DeleteConversationRequest { conversation_id: conversation_id.clone() };
    suite.client().delete_conversation(suite.ctx.request(request.clone())).await.unwrap();
    assert_eq!(ended(&rest(&mut stream).await).0, "cancelled");
    suite.world.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    let again = suite.client().delete_conversation(suite.ctx.request(request)).await.unwrap_err();
    assert_eq!(reason(again), Reason::ConversationNotFound);
    assert_eq!(reason(suite.watch(&run_id, 0).await.unwrap_err()), Reason::RunNotFound);
    assert_eq!(reason(suite.send(message(&conversation_id, "Three.")).await.unwrap_err()), Reason::ConversationNotFound);
    assert!(list(&suite, 0, "").await.unwrap().conversations.is_empty());
}

#[tokio::test]
async fn another_project_sees_nothing() {
    let suite = Suite::start().await;
    let conversation_id = suite.conversation().await;
    suite.world.script([Say::Text("Ours "), Say::Gate]);
    let mut stream = suite.say(&conversation_id, "Ours.").await;
    let run_id = next(&mut stream).await.run_id;
    let (them, mut client) = (suite.stranger(), suite.client());

    macro_rules! refused {
        ($call:ident, $request:expr, $reason:expr) => {
            let refused = client.$call(them.request($request)).await.map(drop).unwrap_err();
            assert_eq!(reason(refused), $reason, stringify!($call));
        };
    }
    let id = conversation_id.clone();
    refused!(get_conversation, pb::GetConversationRequest { conversation_id: id.clone() }, Reason::ConversationNotFound);
    refused!(delete_conversation, pb::DeleteConversationRequest { conversation_id: id.clone() }, Reason::ConversationNotFound);
    let request = pb::ListMessagesRequest { conversation_id: id.clone(), ..Default::default() };
    refused!(list_messages, request, Reason::ConversationNotFound);
    refused!(send_message, message(&id, "Theirs."), Reason::ConversationNotFound);
    refused!(get_run, pb::GetRunRequest { run_id: run_id.clone() }, Reason::RunNotFound);
    refused!(watch_run, pb::WatchRunRequest { run_id: run_id.clone(), after_sequence: 0 }, Reason::RunNotFound);
    refused!(cancel_run, pb::CancelRunRequest { run_id: run_id.clone() }, Reason::RunNotFound);
    let given = pb::Conversation { id: id.clone(), title: "Theirs".into(), ..Default::default() };
    let refused = update(&suite, &them, given, &["title"]).await.unwrap_err();
    assert_eq!(reason(refused), Reason::ConversationNotFound);
    let theirs = client.list_conversations(them.request(pb::ListConversationsRequest::default())).await.unwrap();
    assert!(theirs.into_inner().conversations.is_empty());

    suite.world.gate.add_permits(1);
    let events = rest(&mut stream).await;
    assert_eq!(ended(&events).0, "completed", "and changes nothing");
    assert!(events.iter().any(|e| e.event.as_ref().is_some_and(|e| matches!(e, Event::Text(_)))));
}

#[tokio::test]
async fn a_page_of_long_messages_is_shorter_than_asked_for() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    let text = "ü".repeat(100_000);
    for _ in 0..30 {
        suite.ask(&conversation, &text).await;
    }
    let (mut numbers, mut pages, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = pb::ListMessagesRequest { conversation_id: conversation.clone(), page_size: 1_000, page_token };
        // A client with the usual limit of 4 MiB.
        let page = suite.client().list_messages(suite.ctx.request(request)).await.unwrap().into_inner();
        numbers.extend(page.messages.iter().map(|m| m.number));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn a_message_is_not_sent_again_to_a_conversation_that_is_gone() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    let message = pb::SendMessageRequest {
        conversation_id: conversation.clone(),
        text: "hello".into(),
        request_id: "once".into(),
        ..Default::default()
    };
    rest(&mut suite.send(message.clone()).await.unwrap()).await;
    let request = pb::DeleteConversationRequest { conversation_id: conversation };
    suite.client().delete_conversation(suite.ctx.request(request)).await.unwrap();
    assert_eq!(reason(suite.send(message).await.unwrap_err()), Reason::ConversationNotFound);
}
