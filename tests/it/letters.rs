//! Dead letters: a poison job and a poison event, seen, kept from others, and done again once the cause is mended.

use std::process::{Command, Output};
use std::time::Duration;

use slipway_proto::filestore::GetWorkspaceRequest;
use slipway_proto::operations::redrive_dead_letters_request::Target;
use slipway_proto::operations::{DeadLetter, DeleteDeadLetterRequest, ListDeadLettersRequest, RedriveDeadLettersRequest};
use slipway_testkit::SuiteOptions;
use slipway_testkit::postgres::Postgres;
use slipway_testkit::suite::{Client, Suite};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::story::{self, binary, reason, refused, suite, suite_with};

const RED: &str = "0197a000-0000-7000-8000-0000000000aa";

fn psql(url: &str, sql: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql, url]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn cli(suite: &Suite, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("SLIPWAY_SERVER", suite.url()).env("SLIPWAY_TOKEN", "alice-admin-0123456789abcdef");
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn about<T>(service: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("slipway-service", service.parse().unwrap());
    request
}

async fn list(client: &Client) -> Vec<DeadLetter> {
    let request = about("embedding", ListDeadLettersRequest::default());
    client.operations.clone().list_dead_letters(request).await.unwrap().into_inner().dead_letters
}

/// The letters, once there are as many.
async fn letters(client: &Client, count: usize) -> Vec<DeadLetter> {
    let listed = async {
        loop {
            let letters = list(client).await;
            if letters.len() == count {
                return letters;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listed).await.expect("the letters are there in time")
}

async fn redrive(client: &Client, target: Target) -> Result<u64, Status> {
    let request = about("embedding", RedriveDeadLettersRequest { target: Some(target) });
    Ok(client.operations.clone().redrive_dead_letters(request).await?.into_inner().redriven_count)
}

async fn delete(client: &Client, id: &str) -> Result<(), Status> {
    let request = about("embedding", DeleteDeadLetterRequest { dead_letter_id: id.to_owned() });
    client.operations.clone().delete_dead_letter(request).await.map(drop)
}

/// A job with a payload that no worker can read.
fn poison_job(database: &str, key: &str) {
    psql(
        database,
        &format!(
            "INSERT INTO embedding.job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, \
             due_time, create_time) VALUES ('01900000-0000-7000-8000-00000000000{key}', 'embedding.build', '{key}', '{RED}', 'poison', '', 0, 0, 0, 0, 0, 0)"
        ),
    );
}

#[tokio::test]
async fn poison_is_listed_and_redriven_after_the_cause_is_mended() {
    if story::only_for_one_process("letters", "the test reaches into the suite's own database") {
        return;
    }
    let Some(server) = Postgres::shared().await else { return };
    let database = server.database().await.unwrap();
    let mut options = SuiteOptions::default().with_two_tenants();
    options.env.push(("SLIPWAY_STORE__URL".into(), database.clone()));
    options.env.push(("SLIPWAY_BUS__MAX_DELIVERIES".into(), "2".into()));
    let suite = suite_with(options).await;
    let (alice, bob) = (suite.client_as("alice-admin").unwrap(), suite.client_as("bob-admin").unwrap());
    let (workspace, _) = story::workspace(&alice, &story::small_chart()).await;
    story::indexed(&alice, &workspace, 1).await;
    assert!(list(&alice).await.is_empty());

    poison_job(&database, "1");
    let job = letters(&alice, 1).await.remove(0);
    assert_eq!((job.kind.as_str(), job.key.as_str(), job.attempts), ("embedding.build", "1", 1));
    assert!(!job.last_error.is_empty() && job.death_time.is_some(), "{job:?}");

    psql(&database, "ALTER TABLE embedding.workspace_index RENAME TO hidden");
    let head = GetWorkspaceRequest { workspace_id: workspace.clone() };
    let head = alice.files.clone().get_workspace(head).await.unwrap().into_inner().workspace.unwrap().head_revision_id;
    story::commit(&alice, &workspace, &head, vec![story::write("new.yaml", "fresh: words\n")]).await.unwrap();
    let event = letters(&alice, 2).await.remove(1);
    assert_eq!((event.kind.as_str(), event.attempts), ("event.embedding-revisions", 2));
    assert!(event.last_error.contains("workspace_index"), "{event:?}");

    assert!(list(&bob).await.is_empty(), "another tenant sees none of it");
    let one = Target::DeadLetterId(event.id.clone());
    refused(redrive(&bob, one.clone()).await, Code::NotFound, "DEAD_LETTER_NOT_FOUND");
    refused(delete(&bob, &event.id).await, Code::NotFound, "DEAD_LETTER_NOT_FOUND");
    assert_eq!(redrive(&bob, Target::Kind(event.kind.clone())).await.unwrap(), 0);
    let writer = suite.client_as("alice-write").unwrap();
    refused(redrive(&writer, one.clone()).await, Code::PermissionDenied, "SCOPE_INSUFFICIENT");

    // What is redriven too early is a dead letter again.
    assert_eq!(redrive(&alice, Target::DeadLetterId(job.id.clone())).await.unwrap(), 1);
    let again = letters(&alice, 2).await;
    assert!(again.iter().any(|letter| letter.id == job.id && letter.attempts == 1), "{again:?}");

    psql(&database, "ALTER TABLE embedding.hidden RENAME TO workspace_index");
    let mended = format!("{{\"workspace\": \"{workspace}\", \"build\": 0, \"anew\": false}}");
    psql(&database, &format!("UPDATE embedding.job SET payload = convert_to('{mended}', 'UTF8') WHERE job_key = '1'"));
    let listed = cli(&suite, &["dead-letters", "list"]);
    assert!(listed.status.success() && said(&listed).contains(&event.id) && said(&listed).contains("event.embedding"));
    let json: serde_json::Value =
        serde_json::from_slice(&cli(&suite, &["dead-letters", "list", "--kind", "embedding.build", "--json"]).stdout).unwrap();
    assert_eq!(json["deadLetters"][0]["id"], job.id);
    assert_eq!(json["deadLetters"][0]["service"], "embedding");
    for arguments in [vec![event.id.as_str()], vec!["--kind", "embedding.build"]] {
        let redriven = cli(&suite, &[&["dead-letters", "redrive", "--service", "embedding"][..], &arguments].concat());
        assert!(said(&redriven).contains("1 dead letter redriven"), "{}", said(&redriven));
    }
    story::indexed(&alice, &workspace, 2).await;
    letters(&alice, 0).await;
    let left = || psql(&database, "SELECT count(*) FROM embedding.job WHERE kind <> 'embedding.vectors'");
    let done = async {
        while left() != "0" {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("both are done");

    poison_job(&database, "2");
    let job = letters(&alice, 1).await.remove(0);
    let deleted = cli(&suite, &["dead-letters", "delete", "--service", "embedding", &job.id, "--yes"]);
    assert!(deleted.status.success(), "{}", said(&deleted));
    assert!(list(&alice).await.is_empty());
    refused(delete(&alice, &job.id).await, Code::NotFound, "DEAD_LETTER_NOT_FOUND");
    let missing = cli(&suite, &["dead-letters", "delete", "--service", "embedding", &job.id, "--yes"]);
    assert_eq!(missing.status.code(), Some(3), "{}", said(&missing));
}

#[tokio::test]
async fn a_call_names_the_service_that_it_is_about() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for service in ["conversation", "planner", "file-store", "embedding", "inference"] {
        let request = about(service, ListDeadLettersRequest::default());
        let listed = client.operations.clone().list_dead_letters(request).await.unwrap().into_inner();
        assert!(listed.dead_letters.is_empty() && listed.next_page_token.is_empty());
    }
    let unnamed = Request::new(ListDeadLettersRequest::default());
    for request in [unnamed, about("gateway", ListDeadLettersRequest::default())] {
        let status = client.operations.clone().list_dead_letters(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "slipway-service");
        assert!(violation.description.contains("conversation, embedding, file-store, inference, planner"), "{violation:?}");
    }
}
