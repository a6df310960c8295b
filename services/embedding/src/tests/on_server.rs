//! The service with its engine on a server, which comes late, changes its format, and loses everything.

use super::*;
use crate::index::{FORMAT, Server, StandIn};
use crate::service::Source;

async fn start(server: &StandIn, dir: TempDir, files: &FileStore, format: u32) -> World {
    let source = Source::Server(Box::new(Server::with_format(&server.settings(), format).unwrap()));
    let url = format!("sqlite://{}/embedding.db", dir.path().display());
    let parts = Parts { engine: Some(source), ..Parts::default() };
    World::start_with(dir, &url, files.clone(), Model::Counting(Arc::default()), parts).await
}

fn collection(format: u32) -> String {
    format!("slipway_all-MiniLM-L6-v2_384_v{format}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_is_changed_while_searches_go_on_and_a_lost_server_is_filled_again() {
    let (server, files) = (StandIn::start().await, FileStore::default());
    let (p, workspaces) = (project(1), [Uuid::now_v7(), Uuid::now_v7()]);
    // A server that is not there yet is waited for.
    server.held().away = true;
    let world = start(&server, tempfile::tempdir().unwrap(), &files, FORMAT).await;
    for w in workspaces {
        world.commit(p, w, &chart()).await;
    }
    server.held().away = false;
    for w in workspaces {
        world.hybrid(p, w, 1).await;
        assert_eq!(world.search(p, w, "gateway replicas").await.unwrap().mode(), SearchMode::Hybrid);
    }
    let (dir, _) = world.stop().await;
    assert_eq!(server.names(), (vec![collection(FORMAT)], [("slipway".to_owned(), collection(FORMAT))].into()));

    // The next release chunks otherwise. While it cannot build, searches answer from what there is.
    files.set_away(true);
    let world = start(&server, dir, &files, FORMAT + 1).await;
    for w in workspaces {
        let found = world.search(p, w, "gateway replicas").await.unwrap();
        assert!(paths(&found).contains(&"values.yaml"));
    }
    assert_eq!(server.names().1["slipway"], collection(FORMAT), "the alias stays until the new one is full");
    files.set_away(false);
    let start_of_wait = Instant::now();
    while server.names() != (vec![collection(FORMAT + 1)], [("slipway".to_owned(), collection(FORMAT + 1))].into()) {
        assert!(start_of_wait.elapsed() < PATIENCE, "still {:?}", server.names());
        for w in workspaces {
            assert!(!world.search(p, w, "gateway replicas").await.unwrap().hits.is_empty(), "a search finds at any moment");
        }
    }
    for w in workspaces {
        let index = world.hybrid(p, w, 1).await;
        assert_eq!((index.state(), index.embedded_count), (IndexState::Ready, 0), "the vectors are known");
    }
    let (dir, _) = world.stop().await;

    // One that starts finds everything there, and says so when nothing is left.
    let world = start(&server, dir, &files, FORMAT + 1).await;
    files.take_reads();
    for w in workspaces {
        assert!(!world.search(p, w, "gateway replicas").await.unwrap().hits.is_empty());
    }
    assert_eq!(files.take_reads(), 0, "nothing is forgotten");
    let (dir, _) = world.stop().await;
    server.lose();
    let world = start(&server, dir, &files, FORMAT + 1).await;
    for w in workspaces {
        world.hybrid(p, w, 1).await;
        assert!(!world.search(p, w, "gateway replicas").await.unwrap().hits.is_empty());
    }
    world.stop().await;
}
