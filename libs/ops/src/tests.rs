//! Poison, on both transports: it stops after the last delivery, what follows it passes, and it comes back when redriven.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use prost::Message as _;
use slipway_bus::{Bus, Event, Handler, HandlerError, Settings};
use slipway_proto::events::Event as Payload;
use slipway_proto::operations as proto;
use slipway_proto::operations::operations_service_client::OperationsServiceClient;
use slipway_proto::operations::redrive_dead_letters_request::Target;
use slipway_rpc::{Caller, Channel, Ctx, IdentityKey, ProjectId, Running, Scope, UserId};
use slipway_storage::sea_orm_migration::MigrationTrait;
use slipway_storage::{MigratorTrait, StoreSettings, shared_migrations};
use slipway_testkit::nats::NatsServer;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const KIND: &str = "event.test-consumer";

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        shared_migrations()
    }
}

/// Refuses events of the entity `poison`, or panics over them, until it is mended.
#[derive(Default)]
struct Picky {
    mended: AtomicBool,
    panics: bool,
    taken: Mutex<Vec<Event>>,
    refused: Mutex<Vec<u32>>,
    changed: Notify,
}

#[async_trait]
impl Handler for Picky {
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError> {
        let poison = event.entity_id == "poison" && !self.mended.load(Ordering::SeqCst);
        if poison {
            self.refused.lock().expect("not poisoned").push(delivery);
        } else {
            self.taken.lock().expect("not poisoned").push(event.clone());
        }
        self.changed.notify_one();
        assert!(!poison || !self.panics, "cannot stomach it");
        if poison { Err(HandlerError::new("cannot stomach it")) } else { Ok(()) }
    }
}

impl Picky {
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it happens in time");
    }

    async fn took(&self, count: usize) -> Vec<Event> {
        self.until(|picky| picky.taken.lock().expect("not poisoned").len() >= count).await;
        self.taken.lock().expect("not poisoned").clone()
    }

    fn refused(&self) -> Vec<u32> {
        self.refused.lock().expect("not poisoned").clone()
    }
}

/// One process with one consumer.
struct Process {
    running: Running,
    channel: Channel,
    task: JoinHandle<()>,
}

impl Process {
    async fn start(dir: &tempfile::TempDir, bus: &Bus, picky: &Arc<Picky>) -> Process {
        let url = format!("sqlite://{}/store.db", dir.path().display());
        let store = Store::open(&StoreSettings { url, ..Default::default() }, "test").await.expect("opened");
        store.migrate::<Migrator>().await.expect("migrated");
        let key = IdentityKey::new(&IdentityKey::generate()).expect("a key");
        let mut server = Server::new(key);
        register(&mut server, "test", store.clone());
        register(&mut server, "other", store.clone());
        subscribe(bus, &store, KIND, "revision.committed", picky.clone(), &mut server).await.expect("subscribed");
        let channel = server.channel();
        let running = server.start().await;
        let task = tokio::spawn({
            let (bus, shutdown) = (bus.clone(), running.shutdown());
            async move { bus.run(shutdown).await }
        });
        Process { running, channel, task }
    }

    async fn stop(self) {
        self.running.stop().await;
        self.task.await.expect("no panic");
    }

    fn client(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone())
    }

    async fn list(&self, project: Uuid) -> Vec<proto::DeadLetter> {
        let request = about(project, "test", proto::ListDeadLettersRequest::default());
        self.client().list_dead_letters(request).await.expect("listed").into_inner().dead_letters
    }

    async fn redrive(&self, project: Uuid, target: Target) -> Result<u64, Status> {
        let request = about(project, "test", proto::RedriveDeadLettersRequest { target: Some(target) });
        Ok(self.client().redrive_dead_letters(request).await?.into_inner().redriven_count)
    }
}

fn about<T>(project: Uuid, service: &'static str, message: T) -> Request<T> {
    let caller = Caller::new(UserId(Uuid::nil()), Scope::Admin);
    let ctx = Ctx::new(caller, ProjectId(project), "r".into(), None, String::new());
    let mut request = ctx.request(message);
    request.metadata_mut().insert(SERVICE_HEADER, service.parse().expect("a name"));
    request
}

fn event(project: Uuid, entity: &str) -> Event {
    let payload = Payload { project_id: project.to_string(), ..Payload::default() };
    Event {
        id: Uuid::now_v7(),
        subject: "revision.committed".to_owned(),
        entity_id: entity.to_owned(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        payload: payload.encode_to_vec().into(),
    }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().expect("a reason").reason.clone()
}

/// Publishes as the outbox does: until it is taken.
async fn publish(bus: &Bus, event: &Event) {
    let publishing = async {
        while bus.publish(event).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, publishing).await.expect("the event is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_stops_and_comes_back_when_it_is_redriven() {
    for panics in [false, true] {
        let (dir, bus) = (tempfile::tempdir().expect("a directory"), Bus::in_process());
        let picky = Arc::new(Picky { panics, ..Picky::default() });
        let process = Process::start(&dir, &bus, &picky).await;
        let (ours, theirs) = (Uuid::now_v7(), Uuid::now_v7());
        let (poison, good) = (event(ours, "poison"), event(ours, "good"));
        publish(&bus, &poison).await;
        publish(&bus, &good).await;
        assert_eq!(picky.refused(), (1..=10).collect::<Vec<_>>());
        assert_eq!(picky.took(1).await, std::slice::from_ref(&good), "what follows passes");

        let letters = process.list(ours).await;
        let [letter] = letters.as_slice() else { panic!("one letter: {letters:?}") };
        assert_eq!((letter.kind.as_str(), &letter.key, letter.attempts), (KIND, &poison.id.to_string(), 10));
        assert_eq!((letter.service.as_str(), &letter.traceparent), ("test", &poison.traceparent));
        assert!(letter.last_error.contains(if panics { "panicked" } else { "cannot stomach it" }), "{letter:?}");
        assert!(letter.create_time.is_some() && letter.death_time == letter.create_time);

        assert!(process.list(theirs).await.is_empty());
        let status = process.redrive(theirs, Target::DeadLetterId(letter.id.clone())).await.expect_err("not theirs");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "DEAD_LETTER_NOT_FOUND"));
        assert_eq!(process.redrive(theirs, Target::Kind(KIND.into())).await.expect("none"), 0);
        let delete = proto::DeleteDeadLetterRequest { dead_letter_id: letter.id.clone() };
        let status = process.client().delete_dead_letter(about(theirs, "test", delete)).await.expect_err("not theirs");
        assert_eq!(reason(&status), "DEAD_LETTER_NOT_FOUND");

        picky.mended.store(true, Ordering::SeqCst);
        assert_eq!(process.redrive(ours, Target::Kind(KIND.into())).await.expect("redriven"), 1);
        assert_eq!(picky.took(2).await, [good, poison], "whole, as it was sent");
        assert!(process.list(ours).await.is_empty());
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_nats_the_count_outlives_the_process() {
    for server in NatsServer::every().await {
        let settings = Settings { url: server.url(), max_deliveries: 3, ..Settings::default() };
        let (dir, picky, project) = (tempfile::tempdir().expect("a directory"), Arc::new(Picky::default()), Uuid::now_v7());
        let first_bus = Bus::connect(&settings).await.expect("an address");
        let first = Process::start(&dir, &first_bus, &picky).await;
        let (poison, good) = (event(project, "poison"), event(project, "good"));
        publish(&first_bus, &poison).await;
        publish(&first_bus, &good).await;
        picky.until(|picky| picky.refused().len() >= 2).await;
        first.stop().await;
        let before = picky.refused().len();

        let second = Process::start(&dir, &Bus::connect(&settings).await.expect("an address"), &picky).await;
        assert_eq!(picky.took(1).await, [good], "what follows passes");
        assert_eq!(picky.refused(), [1, 2, 3], "{before} of them in the first process");
        assert_eq!(second.list(project).await.len(), 1);
        picky.mended.store(true, Ordering::SeqCst);
        let id = second.list(project).await.remove(0).id;
        assert_eq!(second.redrive(project, Target::DeadLetterId(id)).await.expect("redriven"), 1);
        assert_eq!(picky.took(2).await[1], poison);
        second.stop().await;
    }
}

#[tokio::test]
async fn requests_are_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start(&dir, &Bus::in_process(), &Arc::default()).await;
    let project = Uuid::now_v7();
    for service in ["", "nobody"] {
        let request = about(project, service, proto::ListDeadLettersRequest::default());
        let status = process.client().list_dead_letters(request).await.expect_err("no such service");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert!(status.message().contains("slipway-service") && status.message().contains("other, test"), "{status:?}");
    }
    let request = about(project, "test", proto::RedriveDeadLettersRequest { target: None });
    let status = process.client().redrive_dead_letters(request).await.expect_err("nothing to redrive");
    assert!(status.message().contains("target"), "{status:?}");
    let bus = Bus::in_process();
    let handler = Arc::new(Picky::default());
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).expect("a key"));
    let url = format!("sqlite://{}/other.db", dir.path().display());
    let store = Store::open(&StoreSettings { url, ..Default::default() }, "test").await.expect("opened");
    assert!(subscribe(&bus, &store, "test-consumer", ">", handler, &mut server).await.is_err(), "kinds have their prefix");
    process.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (bus, picky, project) = (Bus::in_process(), Arc::new(Picky::default()), Uuid::now_v7());
    let process = Process::start(&dir, &bus, &picky).await;
    for _ in 0..5 {
        publish(&bus, &event(project, "poison")).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListDeadLettersRequest { kind: KIND.into(), page_size: 2, page_token };
        let page = process.client().list_dead_letters(about(project, "test", request)).await.expect("listed").into_inner();
        assert!(page.dead_letters.len() <= 2);
        seen.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let elsewhere = proto::ListDeadLettersRequest { page_token: page_token.clone(), ..Default::default() };
        let status = process.client().list_dead_letters(about(project, "other", elsewhere)).await.expect_err("another list's");
        assert_eq!(reason(&status), "PAGE_TOKEN_INVALID");
    }
    assert_eq!(seen, process.list(project).await);
    assert_eq!(seen.len(), 5);
    process.stop().await;
}
