//! Databases that are somebody else's to change: roles with no more rights than they need, and migrations by hand.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use slipway_testkit::postgres::Postgres;

use crate::story::binary;

const STATEFUL: [&str; 5] = ["conversation", "planner", "file-store", "embedding", "inference"];

fn slipway(directory: &Path, url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(directory).env("SLIPWAY_DATA_DIR", directory).env("SLIPWAY_STORE__URL", url);
    command.env("SLIPWAY_STORE__MIGRATE", "false").env("SLIPWAY_TELEMETRY__METRICS_LISTEN", "").stdin(Stdio::null());
    for neighbour in ["CONVERSATION", "PLANNER", "FILE_STORE", "EMBEDDING", "INFERENCE"] {
        command.env(format!("SLIPWAY_SERVICES__{neighbour}"), "http://127.0.0.1:1");
    }
    command.output().unwrap()
}

fn psql(url: &str, sql: &str) -> Output {
    Command::new("psql").args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", sql, url]).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The same database, signed in as another role.
fn url_as(url: &str, role: &str) -> String {
    let (_, place) = url.split_once('@').unwrap();
    format!("postgres://{role}@{place}")
}

#[tokio::test]
async fn a_service_needs_no_right_to_change_its_schema() {
    let Some(server) = Postgres::start().await else { return };
    let url = server.database().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let roles = slipway(directory.path(), &url, &["migrate", "roles"]);
    for _ in 0..2 {
        let made = psql(&url, &said(&roles));
        assert!(made.status.success(), "{}", said(&made));
    }
    for service in STATEFUL {
        let role = url_as(&url, &format!("slipway_{}", service.replace('-', "_")));
        let refused = slipway(directory.path(), &role, &["serve", service, "--listen", "127.0.0.1:0"]);
        let sentence = said(&refused);
        assert!(!refused.status.success() && sentence.contains("slipway migrate") && sentence.contains("m0000"), "{sentence}");
    }
    let owner = url_as(&url, "slipway_owner");
    let migrated = slipway(directory.path(), &owner, &["migrate"]);
    assert!(migrated.status.success(), "{}", said(&migrated));
    for service in STATEFUL {
        let schema = service.replace('-', "_");
        let role = url_as(&url, &format!("slipway_{schema}"));
        let status = slipway(directory.path(), &role, &["migrate", "status", "--service", service]);
        assert!(said(&status).contains("nothing is missing"), "{}", said(&status));
        assert!(psql(&role, &format!("DELETE FROM {schema}.job")).status.success(), "rows are its own");
        for refused in [
            format!("CREATE TABLE {schema}.mine (id int)"),
            format!("DROP TABLE {schema}.job"),
            "CREATE TABLE public.mine (id int)".to_owned(),
            format!("SELECT * FROM {}.job", if schema == "planner" { "embedding" } else { "planner" }),
        ] {
            let output = psql(&role, &refused);
            assert!(
                !output.status.success() && said(&output).contains("denied") || said(&output).contains("must be owner"),
                "{refused}"
            );
        }
    }
    let back = slipway(directory.path(), &owner, &["migrate", "down", "--service", "planner", "--steps", "9"]);
    assert!(said(&back).contains("missing"), "{}", said(&back));
    let again = slipway(directory.path(), &owner, &["migrate"]);
    assert!(again.status.success() && said(&again).contains("migrated"), "{}", said(&again));
}

#[tokio::test]
async fn many_may_migrate_at_once() {
    let Some(server) = Postgres::shared().await else { return };
    let url = server.database().await.unwrap();
    let directories: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    std::thread::scope(|threads| {
        let running: Vec<_> =
            directories.iter().map(|directory| threads.spawn(|| slipway(directory.path(), &url, &["migrate"]))).collect();
        for one in running {
            let output = one.join().unwrap();
            assert!(output.status.success(), "{}", said(&output));
        }
    });
    let status = slipway(directories[0].path(), &url, &["migrate", "status"]);
    assert_eq!(said(&status).matches("nothing is missing").count(), STATEFUL.len(), "{}", said(&status));
}
