//! The service on a temporary database, and a client of it.

use std::sync::Arc;

use slipway_bus::Bus;
use slipway_proto::conversation::conversation_service_client::ConversationServiceClient;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::conversation::{self as pb, RunEvent};
use slipway_proto::embedding::embedding_service_server::EmbeddingServiceServer;
use slipway_proto::filestore::file_store_service_server::FileStoreServiceServer;
use slipway_proto::inference::inference_service_server::InferenceServiceServer;
use slipway_proto::planner::planner_service_server::PlannerServiceServer;
use slipway_rpc::{Channel, Ctx, Fault, IdentityKey, ProjectId, Reason, Running, Server, UserId};
use slipway_storage::{Durability, StoreSettings};
use slipway_testkit::nats::NatsServer;
use slipway_testkit::postgres::Postgres;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::fakes::{Fake, World};
use crate::{Deps, Settings};

/// One server, its neighbours and a client.
pub(super) struct Suite {
    pub(super) world: Arc<World>,
    pub(super) ctx: Ctx,
    channel: Channel,
    /// The server runs apart, so that it can die without an orderly end.
    runtime: Option<Runtime>,
    running: Option<Running>,
    place: Place,
    settings: Settings,
}

/// Where a server's state lives, and how its replicas hear of each other.
#[derive(Clone)]
struct Place {
    url: String,
    nats: Option<String>,
    _dir: Option<Arc<TempDir>>,
}

impl Suite {
    pub(super) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(super) async fn start_with(settings: Settings) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let url = slipway_testkit::postgres::store_url(dir.path(), "conversation").await.unwrap();
        Self::on(World::new(), someone(), Place { url, nats: None, _dir: Some(dir) }, settings).await
    }

    /// Two servers on one PostgreSQL database and one NATS server, or loudly nothing.
    pub(super) async fn replicas(settings: Settings) -> Option<(Self, Self, NatsServer)> {
        let (postgres, nats) = (Postgres::shared().await?, NatsServer::start().await?);
        let place = Place { url: postgres.database().await.unwrap(), nats: Some(nats.url()), _dir: None };
        let (world, ctx) = (World::new(), someone());
        let here = Self::on(world.clone(), ctx.clone(), place.clone(), settings.clone()).await;
        let there = Self::on(world, ctx, place, settings).await;
        Some((here, there, nats))
    }

    async fn on(world: Arc<World>, ctx: Ctx, place: Place, settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (started, at, fake) = (settings.clone(), place.clone(), Fake(world.clone()));
        let (running, channel) = runtime.spawn(async move { serve(&started, at, fake).await }).await.unwrap();
        Self { world, ctx, channel, runtime: Some(runtime), running: Some(running), place, settings }
    }

    /// Ends the server at once, as `kill -9` would, and starts another on the same database.
    pub(super) async fn killed_and_restarted(mut self) -> Self {
        self.kill();
        Self::on(self.world.clone(), self.ctx.clone(), self.place.clone(), self.settings.clone()).await
    }

    /// Stops the server in order and starts another on the same database.
    pub(super) async fn stopped_and_restarted(mut self) -> Self {
        let running = self.running.take().unwrap();
        self.runtime.as_ref().unwrap().spawn(running.stop()).await.unwrap();
        self.killed_and_restarted().await
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(super) fn client(&self) -> ConversationServiceClient<Channel> {
        ConversationServiceClient::new(self.channel.clone())
    }

    /// Someone of another project.
    pub(super) fn stranger(&self) -> Ctx {
        someone()
    }

    pub(super) async fn conversation(&self) -> String {
        self.create(pb::CreateConversationRequest::default()).await.unwrap().id
    }

    pub(super) async fn conversation_about_workspace(&self) -> String {
        let workspace_id = self.world.workspace.to_string();
        self.create(pb::CreateConversationRequest { workspace_id, ..Default::default() }).await.unwrap().id
    }

    pub(super) async fn create(&self, request: pb::CreateConversationRequest) -> Result<pb::Conversation, Status> {
        let response = self.client().create_conversation(self.ctx.request(request)).await?;
        Ok(response.into_inner().conversation.unwrap())
    }

    pub(super) async fn get(&self, conversation_id: &str) -> pb::Conversation {
        let request = pb::GetConversationRequest { conversation_id: conversation_id.into() };
        self.client().get_conversation(self.ctx.request(request)).await.unwrap().into_inner().conversation.unwrap()
    }

    pub(super) async fn messages(&self, conversation_id: &str) -> Vec<pb::Message> {
        let request = pb::ListMessagesRequest { conversation_id: conversation_id.into(), ..Default::default() };
        self.client().list_messages(self.ctx.request(request)).await.unwrap().into_inner().messages
    }

    pub(super) async fn send(&self, request: pb::SendMessageRequest) -> Result<Streaming<pb::SendMessageResponse>, Status> {
        Ok(self.client().send_message(self.ctx.request(request)).await?.into_inner())
    }

    pub(super) async fn say(&self, conversation_id: &str, text: &str) -> Streaming<pb::SendMessageResponse> {
        self.send(message(conversation_id, text)).await.unwrap()
    }

    /// Sends a message and waits for the end of its run.
    pub(super) async fn ask(&self, conversation_id: &str, text: &str) -> Vec<RunEvent> {
        rest(&mut self.say(conversation_id, text).await).await
    }

    pub(super) async fn watch(&self, run_id: &str, after_sequence: u64) -> Result<Streaming<pb::WatchRunResponse>, Status> {
        let request = pb::WatchRunRequest { run_id: run_id.into(), after_sequence };
        Ok(self.client().watch_run(self.ctx.request(request)).await?.into_inner())
    }

    /// The stored events of a run from after a sequence to its end.
    pub(super) async fn watch_to_end(&self, run_id: &str, after_sequence: u64) -> Vec<RunEvent> {
        watched(&mut self.watch(run_id, after_sequence).await.unwrap()).await
    }

    pub(super) async fn run(&self, run_id: &str) -> pb::Run {
        let request = pb::GetRunRequest { run_id: run_id.into() };
        self.client().get_run(self.ctx.request(request)).await.unwrap().into_inner().run.unwrap()
    }

    pub(super) async fn cancel(&self, run_id: &str) -> pb::Run {
        let request = pb::CancelRunRequest { run_id: run_id.into() };
        self.client().cancel_run(self.ctx.request(request)).await.unwrap().into_inner().run.unwrap()
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        self.kill();
    }
}

fn someone() -> Ctx {
    Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "")
}

async fn serve(settings: &Settings, place: Place, fake: Fake) -> (Running, Channel) {
    let key = IdentityKey::new(&IdentityKey::generate()).unwrap();
    let mut server = Server::new(key);
    server.add_service(InferenceServiceServer::new(fake.clone()));
    server.add_service(PlannerServiceServer::new(fake.clone()));
    server.add_service(EmbeddingServiceServer::new(fake.clone()));
    server.add_service(FileStoreServiceServer::new(fake));
    let channel = server.channel();
    let bus = match &place.nats {
        Some(url) => Bus::nats(url).await.unwrap(),
        None => Bus::in_process(),
    };
    let deps = Deps {
        store: StoreSettings { url: place.url, durability: Durability::Process, ..Default::default() },
        bus,
        planner: channel.clone(),
        embedding: channel.clone(),
        inference: channel.clone(),
        file_store: channel.clone(),
    };
    crate::build(settings, deps, &mut server).await.unwrap();
    (server.start().await, channel)
}

pub(super) fn message(conversation_id: &str, text: &str) -> pb::SendMessageRequest {
    pb::SendMessageRequest { conversation_id: conversation_id.into(), text: text.into(), ..Default::default() }
}

/// The next event of a run; panics at the end of the stream.
pub(super) async fn next(stream: &mut Streaming<pb::SendMessageResponse>) -> RunEvent {
    stream.message().await.unwrap().unwrap().event.unwrap()
}

/// Reads until an event that `found` accepts; returns all of them.
pub(super) async fn until(stream: &mut Streaming<pb::SendMessageResponse>, found: impl Fn(&Event) -> bool) -> Vec<RunEvent> {
    let mut events = Vec::new();
    loop {
        events.push(next(stream).await);
        if events.last().and_then(|e| e.event.as_ref()).is_some_and(&found) {
            return events;
        }
    }
}

pub(super) fn is_text(event: &Event) -> bool {
    matches!(event, Event::Text(_))
}

/// What is left of a stream.
pub(super) async fn rest(stream: &mut Streaming<pb::SendMessageResponse>) -> Vec<RunEvent> {
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.push(response.event.unwrap());
    }
    events
}

/// What is left of a watch, without what is not stored.
pub(super) async fn watched(stream: &mut Streaming<pb::WatchRunResponse>) -> Vec<RunEvent> {
    let first = stream.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(first.event, Some(Event::Snapshot(_))), "{first:?}");
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.push(response.event.unwrap());
    }
    events.retain(|e| e.sequence > 0);
    events
}

/// The text of all deltas since the last restart.
pub(super) fn text_of(events: &[RunEvent]) -> String {
    let mut text = String::new();
    for event in events {
        match &event.event {
            Some(Event::Text(delta)) => text.push_str(&delta.text),
            Some(Event::Restarted(_)) => text.clear(),
            _ => {}
        }
    }
    text
}

/// Dense from `first`, one terminal event, and that last.
pub(super) fn assert_whole(events: &[RunEvent], first: u64) {
    let sequences: Vec<_> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (first..first + events.len() as u64).collect::<Vec<_>>());
    let terminal: Vec<_> = events.iter().filter(|e| crate::convert::is_terminal(e)).map(|e| e.sequence).collect();
    assert_eq!(terminal, sequences.last().copied().into_iter().collect::<Vec<_>>());
}

pub(super) fn ended(events: &[RunEvent]) -> (&'static str, pb::RunEnded) {
    match events.last().and_then(|e| e.event.clone()) {
        Some(Event::Completed(ended)) => ("completed", ended),
        Some(Event::Failed(ended)) => ("failed", ended),
        Some(Event::Cancelled(ended)) => ("cancelled", ended),
        other => panic!("not an end: {other:?}"),
    }
}

pub(super) fn reason(status: Status) -> Reason {
    Fault::from_status(&status).reason()
}
