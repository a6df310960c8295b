//! The engine in a directory of its own: the suite, and what only it has: files, stamps, optimizing.

use std::collections::HashSet;

use tempfile::TempDir;

use super::*;
use crate::index::conformance::{self, axis, id, paths, point, tenant, words};

/// An engine on a fresh directory.
pub(crate) fn open() -> (TempDir, EdgeIndex) {
    let dir = tempfile::tempdir().unwrap();
    let (index, fresh) = open_in(&dir);
    assert!(fresh);
    index.confirm().unwrap();
    (dir, index)
}

fn open_in(dir: &TempDir) -> (EdgeIndex, bool) {
    EdgeIndex::open(dir.path(), DirLock::take(dir.path()).unwrap(), &Space::default()).unwrap()
}

#[tokio::test]
async fn it_does_what_every_engine_does() {
    let (_dir, index) = open();
    conformance::all(&index).await;
}

#[tokio::test]
async fn what_was_flushed_is_there_after_opening_again() {
    let (dir, index) = open();
    let t = tenant();
    index.upsert(t, 1, vec![point(t, "a", "alpha", Some(1))]).await.unwrap();
    index.flush().await.unwrap();
    index.close().await;
    let (index, fresh) = open_in(&dir);
    assert!(!fresh);
    assert_eq!(paths(&index.search(t, words("alpha")).await.unwrap()), ["a"]);
    index.upsert(t, 2, vec![point(t, "b", "alpha too", None)]).await.unwrap();
    assert_eq!(index.ids(t, false).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_closed_engine_does_nothing_and_its_directory_is_free() {
    let (dir, index) = open();
    assert!(matches!(DirLock::take(dir.path()), Err(IndexError::Locked(_))));
    index.close().await;
    assert!(matches!(index.ids(tenant(), false).await, Err(IndexError::Closed)));
    DirLock::take(dir.path()).unwrap();
}

#[tokio::test]
async fn another_make_or_damage_begins_anew() {
    let (dir, index) = open();
    let t = tenant();
    index.upsert(t, 1, vec![point(t, "a", "alpha", None)]).await.unwrap();
    index.flush().await.unwrap();
    drop(index);
    let folder = dir.path().join(Stamp::of(&Space::default(), FORMAT).name());
    std::fs::write(folder.join(STAMP), r#"{"format":0,"engine":"x","model":"y","dimensions":3}"#).unwrap();
    let (index, fresh) = open_in(&dir);
    assert!(fresh && index.ids(t, false).await.unwrap().is_empty());
    drop(index);
    let (index, fresh) = open_in(&dir);
    assert!(fresh, "not confirmed");
    index.confirm().unwrap();
    drop(index);
    std::fs::write(folder.join(SHARD).join("edge_config.json"), "not json").unwrap();
    for entry in std::fs::read_dir(folder.join(SHARD).join("segments")).unwrap().flatten() {
        std::fs::write(entry.path().join("segment.json"), "not json").unwrap();
    }
    let (index, fresh) = open_in(&dir);
    assert!(fresh && index.ids(t, false).await.unwrap().is_empty());
}

#[test]
fn writing_flushing_and_searching_go_on_while_optimizing() {
    let (dir, index) = open();
    let t = tenant();
    {
        let held = index.held().unwrap();
        let shard = &held.shard;
        let file = |n: usize| id(t, &format!("f{n}"));
        shard.upsert(t, 1, (0..3_000).map(|n| point(t, &format!("f{n}"), "common text", Some(n % 300))).collect()).unwrap();
        shard.remove(t, 1, &(0..2_000).map(file).collect::<Vec<_>>()).unwrap();
        shard.flush().unwrap();
        std::thread::scope(|threads| {
            let optimizing = threads.spawn(|| (0..3).map(|_| shard.optimize().unwrap()).collect::<Vec<_>>());
            for n in 0..40 {
                let new = format!("new{n}");
                shard.upsert(t, 1, vec![point(t, &new, "common text", None)]).unwrap();
                shard.set_vectors(t, vec![(id(t, &new), axis(n))]).unwrap();
                shard.remove(t, 1, &[file(2_000 + n)]).unwrap();
                shard.flush().unwrap();
                assert_eq!(shard.search(t, &words("common")).unwrap().len(), 10);
            }
            assert!(optimizing.join().unwrap()[0], "there was something to do");
        });
        shard.flush().unwrap();
    }
    let expected: HashSet<_> =
        (2_040..3_000).map(|n| format!("f{n}")).chain((0..40).map(|n| format!("new{n}"))).map(|p| id(t, &p)).collect();
    let there = |index: &EdgeIndex| {
        let held = index.held().unwrap();
        assert!(held.shard.ids(t, true).unwrap().is_empty());
        held.shard.ids(t, false).unwrap().into_iter().collect::<HashSet<_>>()
    };
    assert_eq!(there(&index), expected);
    drop(index);
    let (index, fresh) = open_in(&dir);
    assert!(!fresh);
    assert_eq!(there(&index), expected);
}

#[tokio::test]
async fn indexes_of_other_makes_stand_beside_ours_until_they_are_destroyed() {
    let (dir, ours) = open();
    let t = tenant();
    let lock = ours.held().unwrap()._lock.clone();
    let (next, fresh) = EdgeIndex::open_format(dir.path(), lock.clone(), &Space::default(), FORMAT + 1).unwrap();
    assert!(fresh && next.name() != ours.name());
    next.confirm().unwrap();
    ours.upsert(t, 1, vec![point(t, "a", "alpha", Some(1))]).await.unwrap();
    ours.flush().await.unwrap();
    assert!(next.ids(t, false).await.unwrap().is_empty());
    ours.close().await;
    let name = ours.name().to_owned();
    let again = EdgeIndex::other(dir.path(), lock.clone(), &name).unwrap();
    assert_eq!(paths(&again.search(t, words("alpha")).await.unwrap()), ["a"]);
    for strange in ["in-process_../x", "shard", "in-process_none_3_v1"] {
        assert!(EdgeIndex::other(dir.path(), lock.clone(), strange).is_none(), "{strange}");
    }
    for _ in 0..2 {
        again.destroy().await.unwrap();
    }
    assert!(EdgeIndex::other(dir.path(), lock.clone(), &name).is_none());
    EdgeIndex::remove_others(dir.path(), &HashSet::from([next.name().to_owned()])).unwrap();
    assert!(next.ids(t, false).await.unwrap().is_empty(), "it is still there");
    next.close().await;
    EdgeIndex::remove_others(dir.path(), &HashSet::new()).unwrap();
    assert!(EdgeIndex::other(dir.path(), lock, next.name()).is_none());
}

#[tokio::test]
async fn the_layout_of_before_is_read_on() {
    let (dir, index) = open();
    let t = tenant();
    index.upsert(t, 1, vec![point(t, "a", "alpha", Some(1))]).await.unwrap();
    index.flush().await.unwrap();
    index.close().await;
    let folder = dir.path().join(index.name());
    for part in [SHARD, STAMP] {
        std::fs::rename(folder.join(part), dir.path().join(part)).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let legacy = Legacy::find(dir.path()).unwrap();
    assert_eq!((legacy.name().as_str(), legacy.space()), (index.name(), Space::default()));
    // A kill between the two parts.
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::rename(dir.path().join(SHARD), folder.join(SHARD)).unwrap();
    Legacy::find(dir.path()).unwrap().adopt().unwrap();
    assert!(Legacy::find(dir.path()).is_none());
    let (index, fresh) = open_in(&dir);
    assert!(!fresh);
    assert_eq!(paths(&index.search(t, words("alpha")).await.unwrap()), ["a"]);
}
