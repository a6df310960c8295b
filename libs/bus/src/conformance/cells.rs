//! What cells promise: of those who swap the same state one succeeds, wherever they are; and what happens when the server is
//! lost, with all that it kept.

use std::time::Duration;

use bytes::Bytes;
use slipway_testkit::nats::NatsServer;
use tokio::task::JoinSet;

use super::PATIENCE;
use super::nats::jetstream;
use crate::cells::KEPT;
use crate::{Bus, BusError, Cells, Settings};

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn cells(server: &NatsServer) -> Cells {
    Bus::nats(&server.url()).await.expect("connected").cells().clone()
}

/// The suite, for two that share the cells.
async fn conforms(here: Cells, there: Cells) {
    assert_eq!(here.read("a.b").await.expect("read"), None);
    let first = here.swap("a.b", None, text("one")).await.expect("swapped").expect("nobody was quicker");
    assert_eq!(there.swap("a.b", None, text("late")).await.expect("asked"), None, "there is one already");
    let found = there.read("a.b").await.expect("read").expect("a cell");
    assert_eq!(found.value, text("one"));
    there.swap("a.b", Some(found.revision), text("two")).await.expect("swapped").expect("it was as it had been read");
    assert_eq!(here.swap("a.b", Some(first), text("late")).await.expect("asked"), None, "it has changed");
    assert_eq!(here.read("a.b").await.expect("read").expect("a cell").value, text("two"));
    assert_eq!(here.read("a.c").await.expect("read"), None, "another cell");
    for bad in ["", "a b", "a.*", "a.>"] {
        assert!(matches!(here.read(bad).await, Err(BusError::Invalid(_))), "{bad:?}");
        assert!(matches!(here.swap(bad, None, text("x")).await, Err(BusError::Invalid(_))), "{bad:?}");
    }
    loses_no_count(&here, &there).await;
}

/// Counts in one cell from both sides at once.
async fn loses_no_count(here: &Cells, there: &Cells) {
    let mut counting = JoinSet::new();
    for number in 0..40 {
        let cells = if number % 2 == 0 { here.clone() } else { there.clone() };
        counting.spawn(async move {
            loop {
                let found = cells.read("count").await.expect("read");
                let count: u32 =
                    found.as_ref().map_or(0, |cell| std::str::from_utf8(&cell.value).expect("text").parse().expect("a number"));
                let revision = found.map(|cell| cell.revision);
                if cells.swap("count", revision, text(&(count + 1).to_string())).await.expect("asked").is_some() {
                    return;
                }
            }
        });
    }
    tokio::time::timeout(PATIENCE, counting.join_all()).await.expect("somebody always succeeds");
    assert_eq!(here.read("count").await.expect("read").expect("a cell").value, text("40"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_conforms() {
    let cells = Bus::in_process().cells().clone();
    conforms(cells.clone(), cells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_conforms() {
    for server in NatsServer::every().await {
        conforms(cells(&server).await, cells(&server).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_the_last_value_in_memory_and_not_for_ever() {
    for server in NatsServer::every().await {
        let cells = cells(&server).await;
        let first = cells.swap("a", None, text("one")).await.expect("swapped").expect("new");
        cells.swap("a", Some(first), text("two")).await.expect("swapped").expect("as it was");
        let stream = jetstream(&server).await.get_stream("SLIPWAY_CELLS").await.expect("a stream");
        let info = stream.cached_info();
        assert_eq!((info.state.messages, info.config.max_age), (1, KEPT));
        assert_eq!(info.config.storage, async_nats::jetstream::stream::StorageType::Memory);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_fails_at_once_and_comes_back_without_its_cells() {
    for mut server in NatsServer::every().await {
        let cells = cells(&server).await;
        let before = cells.swap("a", None, text("one")).await.expect("swapped").expect("new");
        server.kill().await.expect("killed");
        let failed = cells.swap("a", Some(before), text("lost")).await.expect_err("nobody is there");
        assert!(failed.is_unavailable(), "{failed}");
        server.restart().await.expect("restarted");
        assert_eq!(until_it_answers(async || cells.read("a").await).await, None);
        // The new stream counts from 1 again, so that this one has the old one's number.
        cells.swap("a", None, text("two")).await.expect("swapped").expect("new");
        assert_eq!(cells.swap("a", Some(before), text("late")).await.expect("asked"), None, "another life");
        assert_eq!(cells.read("a").await.expect("read").expect("a cell").value, text("two"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_a_server_and_no_cell() {
    let Some(mut servers) = NatsServer::cluster().await else { return };
    let url = servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(", ");
    let settings = Settings { url, replicas: 3, ..Settings::default() };
    let cells = Bus::connect(&settings).await.expect("addresses").cells().clone();
    let kept = until_it_answers(async || cells.swap("a", None, text("one")).await).await;
    // An attempt that failed may have swapped.
    assert!(kept.is_some() || cells.read("a").await.expect("read").is_some());
    let stream = jetstream(&servers[0]).await.get_stream("SLIPWAY_CELLS").await.expect("a stream");
    let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone()).expect("a leader");
    let number: usize = leader.trim_start_matches('n').parse().expect("a number");
    servers[number].kill().await.expect("killed");
    let found = until_it_answers(async || cells.read("a").await).await;
    assert_eq!(found.expect("it is kept").value, text("one"));
}

async fn until_it_answers<T>(ask: impl AsyncFn() -> Result<T, BusError>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_unavailable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it answers")
}
