//! Tests of the store: schemas, transactions, what is put off.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::testing::{Migrator, TestStore};

#[tokio::test]
async fn migrations_go_up_and_down_and_up() {
    let test = TestStore::new().await;
    assert_eq!(test.store.pending::<Migrator>().await.expect("listed"), Vec::<String>::new());
    test.store.migrate::<Migrator>().await.expect("again changes nothing");
    test.store.rollback::<Migrator>(None).await.expect("taken back");
    let all: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(test.store.pending::<Migrator>().await.expect("listed"), all);
    test.store.migrate::<Migrator>().await.expect("migrated");
    assert_eq!(test.count("SELECT count(*) FROM job").await, 0);
}

/// From every earlier version, with rows that it has written, to this one, back, and forward again.
#[tokio::test]
async fn rows_of_earlier_versions_stay() {
    let test = TestStore::new().await;
    let later = Migrator::migrations().len() as u32 - 1;
    for steps in 1..=later {
        test.store.rollback::<Migrator>(Some(steps)).await.expect("taken back");
        let tx = test.store.begin().await.expect("begun");
        let job = "INSERT INTO job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, \
                   create_time) VALUES ($1, 'k', $2, $1, $3, '', 2, 1, 0, 1, 7)";
        let values = [Uuid::now_v7().into(), steps.to_string().into(), vec![1_u8].into()];
        tx.conn().execute_raw(test.store.statement(job, values)).await.expect("inserted as that version does");
        tx.commit().await.expect("committed");
        test.store.migrate::<Migrator>().await.expect("migrated");
        assert_eq!(test.count("SELECT count(*) FROM job WHERE create_time = 7").await, i64::from(steps), "after {steps}");
    }
    test.store.rollback::<Migrator>(Some(later)).await.expect("taken back");
    assert_eq!(test.count("SELECT count(*) FROM job WHERE create_time = 7").await, i64::from(later), "back again");
}

#[tokio::test]
async fn a_schema_that_is_others_to_change_is_only_looked_at() {
    let test = TestStore::new().await;
    let mut settings = test.settings.clone();
    settings.migrate = false;
    let looker = || async { Store::open(&settings, &test.schema).await.expect("opened") };
    looker().await.prepare::<Migrator>().await.expect("nothing is missing");
    // What a newer version has applied is nobody else's business.
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m99999999_later', 0)";
    test.store.write().execute_unprepared(newer).await.expect("noted");
    looker().await.prepare::<Migrator>().await.expect("nothing of ours is missing");
    test.store.migrate::<Migrator>().await.expect("nothing to do");
    test.store.write().execute_unprepared("DELETE FROM seaql_migrations").await.expect("forgotten");
    let error = looker().await.prepare::<Migrator>().await.expect_err("all is missing");
    assert!(error.to_string().contains("slipway migrate") && error.to_string().contains("m00000001"), "{error}");
}

#[tokio::test]
async fn hooks_run_after_a_commit_only() {
    let test = TestStore::new().await;
    let calls = Arc::new(AtomicU32::new(0));
    for commit in [true, false] {
        let mut tx = test.store.begin().await.expect("begun");
        let calls = calls.clone();
        tx.after_commit(move || calls.store(1 + calls.load(Ordering::SeqCst), Ordering::SeqCst));
        if commit {
            tx.commit().await.expect("committed");
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_put_off_is_done_with_the_commit_or_not_at_all() {
    let test = TestStore::new().await;
    let sql = "INSERT INTO event_log (stream_id, first_sequence, last_sequence, payload) VALUES ($1, $2, $2, $3)";
    let insert = |at: i64| test.store.statement(sql, [Uuid::nil().into(), at.into(), vec![b'$', b'1'].into()]);
    let delete = |at: i64| test.store.statement("DELETE FROM event_log WHERE first_sequence = $1", [at.into()]);
    let tx = test.store.begin().await.expect("begun");
    for at in 1..=40 {
        tx.later(insert(at));
    }
    tx.flush().await.expect("written");
    tx.later(delete(7));
    tx.commit().await.expect("committed");
    assert_eq!(test.count("SELECT count(*) FROM event_log").await, 39);
    assert_eq!(test.count("SELECT CAST(sum(last_sequence) AS bigint) FROM event_log").await, 820 - 7);

    let tx = test.store.begin().await.expect("begun");
    tx.later(delete(8));
    tx.later(delete(7));
    assert!(matches!(tx.commit().await, Err(StorageError::Stale)), "the second one finds nothing");
    assert_eq!(test.count("SELECT count(*) FROM event_log").await, 39);
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_blocks_nobody() {
    let test = TestStore::new().await;
    let sql = "INSERT INTO event_log (stream_id, first_sequence, last_sequence, payload) VALUES ($1, 1, 1, $2)";
    let insert = test.store.statement(sql, [Uuid::nil().into(), Vec::<u8>::new().into()]);
    for _ in 0..3 {
        let tx = test.store.begin().await.expect("begun");
        tx.conn().execute_raw(insert.clone()).await.expect("inserted");
    }
    let tx = test.store.begin().await.expect("begun");
    tx.conn().execute_raw(insert).await.expect("inserted: the others are gone");
    tx.commit().await.expect("committed");
    assert_eq!(test.count("SELECT count(*) FROM event_log").await, 1);
}

#[tokio::test]
async fn readers_cannot_write() {
    let test = TestStore::new().await;
    if !test.is_sqlite() {
        return;
    }
    assert!(test.store.read().execute_unprepared("DELETE FROM job").await.is_err());
    let mode = "SELECT (SELECT journal_mode FROM pragma_journal_mode) = 'wal' AND (SELECT foreign_keys FROM pragma_foreign_keys)";
    assert_eq!(test.count(mode).await, 1);
}

#[tokio::test]
async fn settings_without_a_file_are_refused() {
    for url in ["sqlite::memory:", "sqlite://", "mysql://x/y", "nonsense"] {
        let settings = StoreSettings { url: url.to_owned(), durability: Durability::Power, ..StoreSettings::default() };
        assert!(matches!(Store::open(&settings, "test").await, Err(StorageError::Settings(_))), "{url}");
    }
    let settings =
        StoreSettings { url: "sqlite:///nowhere/x.db".to_owned(), durability: Durability::Power, ..StoreSettings::default() };
    assert!(matches!(Store::open(&settings, "a\"b").await, Err(StorageError::Settings(_))));
}

/// sqlx gives a connection whose BEGIN was left waiting back to its pool: what runs on it next would hold its locks for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_waits_for_is_not_left_open() {
    let Some(test) = TestStore::postgres().await else { return };
    let observer = test.another().await;
    let open = async || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let row = observer.read().query_one_raw(observer.statement(sql, [])).await.expect("counted").expect("a row");
        row.try_get_by_index::<i64>(0).expect("a number")
    };
    for steps in 0..60 {
        let mut begin = Box::pin(test.store.begin());
        for _ in 0..steps {
            if futures::poll!(begin.as_mut()).is_ready() {
                break;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        drop(begin);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while open().await > 0 {
            assert!(std::time::Instant::now() < deadline, "left after {steps} steps, a transaction is open");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
