//! Replicas that are asked to stop while they are busy: no call fails, no stream breaks, no answer is lost.

use std::time::Duration;

use slipway_proto::conversation::{RunEvent, run_event};
use slipway_testkit::cluster::{Cluster, Engines};
use slipway_testkit::nats::NatsServer;
use slipway_testkit::postgres::Postgres;
use slipway_testkit::suite::Client;
use slipway_testkit::{Provider, Step, SuiteOptions};
use tokio::task::JoinSet;

use crate::story::{self, assert_dense, binary, completed, message, text};

const TALKS: usize = 12;
const WORDS: usize = 30;

/// Says a word every 40 ms.
async fn slow_provider() -> Provider {
    let steps = (0..WORDS).flat_map(|n| [Step::Text(format!("word{n} ")), Step::Pause(Duration::from_millis(40))]);
    let steps: Vec<_> = steps.collect();
    Provider::start(move |_| steps.clone()).await.unwrap()
}

/// One talk to its end; tells when its answer has begun.
async fn talk(client: Client, begun: tokio::sync::mpsc::Sender<()>) -> Vec<RunEvent> {
    let conversation = story::conversation(&client, "").await;
    let mut stream =
        client.conversation.clone().send_message(message(&conversation.id, "tell me a story")).await.unwrap().into_inner();
    let (mut events, mut told) = (Vec::new(), false);
    while let Some(event) = stream.message().await.expect("the stream does not break") {
        let event = event.event.unwrap();
        if matches!(event.event, Some(run_event::Event::Text(_))) && !std::mem::replace(&mut told, true) {
            begun.send(()).await.unwrap();
        }
        events.push(event);
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_fails_no_stream_and_no_call() {
    let (Some(postgres), Some(nats)) = (Postgres::shared().await, NatsServer::start().await) else { return };
    let provider = slow_provider().await;
    let engines = Engines { store: postgres.database().await.unwrap(), bus: nats.url(), bucket: None, doors: false };
    let options = SuiteOptions::with_provider(&provider.base_url());
    let mut cluster = Cluster::start(&binary(), &options, &engines).await.unwrap();
    let client = Client::connect(&cluster.gateways()[0], None).unwrap();
    let mut taken_over = 0;
    for number in cluster.replicas_of("conversation") {
        let (begun, mut beginnings) = tokio::sync::mpsc::channel(TALKS);
        let mut talks = JoinSet::new();
        for _ in 0..TALKS {
            talks.spawn(talk(client.clone(), begun.clone()));
        }
        for _ in 0..TALKS {
            beginnings.recv().await.unwrap();
        }
        cluster.signal_one(number, "TERM").await.unwrap();
        // Unary calls meanwhile: each goes to a replica that takes calls.
        for _ in 0..50 {
            story::conversation(&client, "").await;
        }
        let whole: String = (0..WORDS).map(|n| format!("word{n} ")).collect();
        for events in talks.join_all().await {
            let stored: Vec<_> = events.iter().filter(|event| event.sequence > 0).cloned().collect();
            assert_dense(stored.iter().map(|event| event.sequence), 1);
            let (_, answer) = completed(&stored);
            assert_eq!((answer.text.as_str(), text(&stored).as_str()), (whole.as_str(), whole.as_str()));
            taken_over += usize::from(stored.iter().any(|event| matches!(event.event, Some(run_event::Event::Restarted(_)))));
        }
        cluster.restart_one(number).await.unwrap();
    }
    assert!(taken_over > 0, "one of them had runs, and the other went on with them");
}
