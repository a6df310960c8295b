//! Tests of the tables on a database of their own.

use slipway_rpc::{ProjectId, UserId};
use slipway_storage::Durability;
use slipway_testkit::postgres::Postgres;
use uuid::Uuid;

use super::*;
use crate::index::Tenant;
use crate::model::state::State;

#[tokio::test]
async fn on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicU32::new(0);
    all(async || {
        let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        open(format!("sqlite://{}/{n}.db", dir.path().display())).await
    })
    .await;
}

#[tokio::test]
async fn on_postgres() {
    let Some(postgres) = Postgres::shared().await else { return };
    all(async || open(postgres.database().await.unwrap()).await).await;
}

/// Each on a database of its own.
async fn all(fresh: impl AsyncFn() -> Records) {
    the_newest_revision_wins_and_repeats_do_nothing(fresh().await).await;
    another_project_finds_and_changes_nothing(fresh().await).await;
    states_and_counts_follow_the_build(fresh().await).await;
    files_and_vectors_come_back_as_they_went(fresh().await).await;
    what_is_elsewhere_moves_once_and_only_as_it_was(fresh().await).await;
    migrations_go_back_and_forth(fresh().await).await;
}

async fn open(url: String) -> Records {
    Records::open(&StoreSettings { url, durability: Durability::Process, ..Default::default() }).await.unwrap()
}

fn tenant(project: u128) -> Tenant {
    Tenant { project: ProjectId(Uuid::from_u128(project)), workspace: Uuid::from_u128(9) }
}

async fn want(records: &Records, tenant: Tenant, number: u64, anew: bool) -> Option<u64> {
    let tx = records.begin().await.unwrap();
    let revision = Uuid::from_u128(100 + u128::from(number));
    let wanted = Wanted { tenant, user: UserId(Uuid::from_u128(5)), revision, number };
    let index = records.want(&tx, wanted, anew).await.unwrap();
    tx.commit().await.unwrap();
    index.map(|i| i.wanted)
}

async fn built(records: &Records, tenant: Tenant, build: u64, chunks: u64, vectors: u64) -> bool {
    let tx = records.begin().await.unwrap();
    let (revision, engine) = (Uuid::from_u128(100 + u128::from(build)), "first".to_owned());
    let what = Built { build, engine, revision, number: build, files: 1, chunks, vectors };
    let from = records.find_index(tenant.project, tenant.workspace).await.unwrap().map_or(String::new(), |index| index.engine);
    let moved = records.set_built(&tx, tenant, &what, &from).await.unwrap();
    tx.commit().await.unwrap();
    moved
}

async fn the_newest_revision_wins_and_repeats_do_nothing(records: Records) {
    let t = tenant(1);
    assert_eq!(want(&records, t, 2, false).await, Some(1));
    assert_eq!(want(&records, t, 2, false).await, None);
    assert_eq!(want(&records, t, 1, false).await, None);
    assert_eq!(want(&records, t, 3, false).await, Some(2));
    assert_eq!(want(&records, t, 3, true).await, Some(3), "a re-index of the same revision is a build of its own");
    assert_eq!(want(&records, t, 2, true).await, None);
}

async fn another_project_finds_and_changes_nothing(records: Records) {
    want(&records, tenant(1), 1, false).await;
    assert!(records.find_index(ProjectId(Uuid::from_u128(2)), Uuid::from_u128(9)).await.unwrap().is_none());
    assert_eq!(want(&records, tenant(2), 7, true).await, None);
    assert!(!built(&records, tenant(2), 1, 1, 1).await);
    let tx = records.begin().await.unwrap();
    records.delete_workspace(&tx, tenant(2)).await.unwrap();
    tx.commit().await.unwrap();
    let index = records.find_index(tenant(1).project, tenant(1).workspace).await.unwrap().unwrap();
    assert_eq!((index.wanted, index.wanted_number), (1, 1));
}

async fn states_and_counts_follow_the_build(records: Records) {
    let t = tenant(1);
    let find = async || records.find_index(t.project, t.workspace).await.unwrap().unwrap();
    want(&records, t, 1, false).await;
    assert_eq!(find().await.state(), State::Indexing);
    assert!(built(&records, t, 1, 10, 4).await);
    assert!(!built(&records, t, 1, 10, 4).await, "once");
    let index = find().await;
    assert_eq!((index.state(), index.revision_number, index.vector_count, index.settled), (State::Ready, 1, 4, 0));
    let tx = records.begin().await.unwrap();
    records.add_vectors(&tx, t, 1, 3, 2).await.unwrap();
    records.add_vectors(&tx, t, 7, 100, 100).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((find().await.vector_count, find().await.embedded_count), (7, 2));
    let tx = records.begin().await.unwrap();
    records.set_settled(&tx, t, 1, Some(1), "out of memory").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((find().await.vector_count, find().await.settled), (9, 1));
    want(&records, t, 2, false).await;
    let tx = records.begin().await.unwrap();
    records.set_failed(&tx, t, 2, "the file store is away").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(find().await.state(), State::Failed);
    assert_eq!(find().await.revision_number, 1, "searches answer from the revision before");
    let tx = records.begin().await.unwrap();
    assert_eq!(records.forget(&tx, "another").await.unwrap(), []);
    assert_eq!(records.forget(&tx, "first").await.unwrap()[0].wanted, 3);
    tx.commit().await.unwrap();
    assert_eq!((find().await.state(), find().await.revision), (State::Indexing, None));
}

async fn files_and_vectors_come_back_as_they_went(records: Records) {
    let t = tenant(1);
    let files: Vec<_> =
        (0..1_200).map(|n| IndexedFile { path: format!("f{n:04}"), blob: format!("b{n}"), chunk_count: n }).collect();
    let vectors: Vec<_> = (0..450u16).map(|n| ([(n % 251) as u8; 32], vec![f32::from(n), -0.5])).collect();
    let tx = records.begin().await.unwrap();
    records.change_files(&tx, t, &files, &[]).await.unwrap();
    records.add_to_ledger(&tx, t, "m", &vectors[..251]).await.unwrap();
    records.add_to_ledger(&tx, t, "m", &vectors[251..]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(records.list_files(t).await.unwrap(), files);
    assert!(records.list_files(tenant(2)).await.unwrap().is_empty());
    let hashes: Vec<_> = vectors.iter().map(|v| v.0).collect();
    let known = records.find_vectors(t, "m", &hashes).await.unwrap();
    assert_eq!(known.len(), 251);
    assert_eq!(known[&[7; 32]], [7.0, -0.5], "the first stays");
    assert!(records.find_vectors(t, "another model", &hashes).await.unwrap().is_empty());
    assert!(records.find_vectors(tenant(2), "m", &hashes).await.unwrap().is_empty());
    let tx = records.begin().await.unwrap();
    let changed = IndexedFile { path: "f0000".to_owned(), blob: "new".to_owned(), chunk_count: 1 };
    records.change_files(&tx, t, std::slice::from_ref(&changed), &["f0001".to_owned()]).await.unwrap();
    tx.commit().await.unwrap();
    let left = records.list_files(t).await.unwrap();
    assert_eq!((left.len(), &left[0]), (1_199, &changed));
    let tx = records.begin().await.unwrap();
    records.delete_workspace(&tx, t).await.unwrap();
    tx.commit().await.unwrap();
    assert!(records.list_files(t).await.unwrap().is_empty() && records.find_vectors(t, "m", &hashes).await.unwrap().is_empty());
}

async fn what_is_elsewhere_moves_once_and_only_as_it_was(records: Records) {
    let t = tenant(1);
    want(&records, t, 1, true).await;
    assert!(records.list_elsewhere("first").await.unwrap().is_empty(), "not built yet");
    assert!(built(&records, t, 1, 10, 4).await);
    assert!(records.list_elsewhere("first").await.unwrap().is_empty());
    assert!(records.list_without_vectors("second").await.unwrap().is_empty());
    assert_eq!(records.list_without_vectors("first").await.unwrap().len(), 1);
    let elsewhere = records.list_elsewhere("second").await.unwrap();
    assert_eq!((elsewhere.len(), elsewhere[0].engine.as_str(), elsewhere[0].anew), (1, "first", 1));
    assert_eq!(records.list_built("first").await.unwrap(), elsewhere);

    let tx = records.begin().await.unwrap();
    let revision = elsewhere[0].revision.unwrap();
    let full = Built { build: 1, engine: "second".to_owned(), revision, number: 1, files: 2, chunks: 12, vectors: 12 };
    assert!(!records.set_moved(&tx, t, &full, "third").await.unwrap(), "it was never there");
    assert!(!records.set_moved(&tx, t, &Built { build: 2, ..full.clone() }, "first").await.unwrap(), "another build");
    assert!(!records.set_moved(&tx, tenant(2), &full, "first").await.unwrap());
    assert!(records.set_moved(&tx, t, &full, "first").await.unwrap());
    assert!(!records.set_moved(&tx, t, &full, "first").await.unwrap(), "once");
    // A build that began where the workspace was does not take it back.
    assert!(!records.set_built(&tx, t, &Built { build: 2, engine: "first".to_owned(), ..full }, "first").await.unwrap());
    let index = records.lock_index(&tx, t).await.unwrap().unwrap();
    assert_eq!((index.engine.as_str(), index.built, index.vector_count, index.settled), ("second", 1, 12, 1));
    assert!(records.lock_index(&tx, tenant(2)).await.unwrap().is_none());
    tx.commit().await.unwrap();
    assert_eq!(records.list_engines().await.unwrap(), ["second"]);

    let asked = |name: &str, embedder: &str| Asked { name: name.to_owned(), embedder: embedder.to_owned() };
    for (name, embedder) in [("first", "a"), ("second", "b"), ("first", "c")] {
        let tx = records.begin().await.unwrap();
        records.ask_engine(&tx, &asked(name, embedder)).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(records.list_asked().await.unwrap(), [asked("first", "c"), asked("second", "b")], "the last one first");
    let tx = records.begin().await.unwrap();
    records.forget_engine(&tx, "first").await.unwrap();
    records.rename_engine(&tx, "second", "third").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(records.list_asked().await.unwrap(), [asked("second", "b")]);
    assert_eq!(records.list_engines().await.unwrap(), ["third"]);
}

async fn migrations_go_back_and_forth(records: Records) {
    let store = records.store();
    want(&records, tenant(1), 1, false).await;
    store.rollback::<Migrator>(Some(1)).await.unwrap();
    assert_eq!(store.pending::<Migrator>().await.unwrap().len(), 1);
    store.migrate::<Migrator>().await.unwrap();
    let index = records.find_index(tenant(1).project, tenant(1).workspace).await.unwrap().unwrap();
    assert_eq!((index.wanted, index.anew, index.engine.as_str()), (1, 0, ""), "the rows stay");
    store.rollback::<Migrator>(None).await.unwrap();
    store.migrate::<Migrator>().await.unwrap();
}
