//! The steps that most tests share, so that a test reads as what it shows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slipway_proto::conversation::{
    Conversation, CreateConversationRequest, Message, Run, RunEvent, SendMessageRequest, WatchRunRequest, run_event,
};
use slipway_proto::embedding::{GetIndexRequest, Index, IndexState};
use slipway_proto::filestore::file_change::Change;
use slipway_proto::filestore::{
    CommitRevisionRequest, CreateWorkspaceRequest, FileChange, ReadFileRequest, Revision, WriteFile, read_file_response,
};
use slipway_proto::planner::{Plan, PlanEvent, plan_event};
use slipway_testkit::suite::{self, Client};
use slipway_testkit::{Suite, SuiteOptions, tools};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_slipway"))
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository is there")
}

/// A suite with default settings.
pub(crate) async fn suite() -> Suite {
    suite_with(SuiteOptions::default()).await
}

/// A suite with these settings.
pub(crate) async fn suite_with(options: SuiteOptions) -> Suite {
    Suite::start(&binary(), options).await.expect("the suite starts")
}

/// Whether a test has nothing to test at scale, because it is about one process; it says so then.
pub(crate) fn only_for_one_process(test: &str, why: &str) -> bool {
    if suite::at_scale() {
        tools::skipped(test, &format!("at scale: {why}"));
    }
    suite::at_scale()
}

/// The reason in a status; every status must have one.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "slipway.dev");
    info.reason.clone()
}

/// A fact from a status.
pub(crate) fn fact(status: &Status, key: &str) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|i| i.metadata.get(key).cloned()).unwrap_or_else(|| panic!("no {key} in {status:?}"))
}

/// Asserts code and reason at once.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, why: &str) -> Status {
    let status = result.expect_err("the call should be refused");
    assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{status:?}");
    status
}

/// A small chart as `helm create` lays one out, with a gateway of its own.
pub(crate) fn small_chart() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "Chart.yaml",
            "apiVersion: v2\nname: shop\ndescription: A small shop\ntype: application\nversion: 0.1.0\nappVersion: \"1.0\"\n",
        ),
        (
            "values.yaml",
            "# The front door of the shop.\ngateway:\n  # How many gateways run.\n  replicas: 1\n  image:\n    repository: shop/gateway\n    tag: \"1.0\"\n  service:\n    type: ClusterIP\n    port: 8080\n  ingress:\n    enabled: false\n    className: \"\"\n    host: \"\"\n\n# The catalogue of goods.\ncatalogue:\n  replicas: 2\n  image:\n    repository: shop/catalogue\n    tag: \"1.0\"\n",
        ),
        (
            "templates/gateway.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}-gateway\nspec:\n  replicas: {{ .Values.gateway.replicas }}\n  selector:\n    matchLabels:\n      app: gateway\n  template:\n    metadata:\n      labels:\n        app: gateway\n    spec:\n      containers:\n        - name: gateway\n          image: \"{{ .Values.gateway.image.repository }}:{{ .Values.gateway.image.tag }}\"\n          ports:\n            - containerPort: {{ .Values.gateway.service.port }}\n",
        ),
        (
            "templates/ingress.yaml",
            "{{- if .Values.gateway.ingress.enabled }}\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {{ .Release.Name }}-gateway\nspec:\n  ingressClassName: {{ .Values.gateway.ingress.className }}\n  rules:\n    - host: {{ .Values.gateway.ingress.host | quote }}\n      http:\n        paths:\n          - path: /\n            pathType: Prefix\n            backend:\n              service:\n                name: {{ .Release.Name }}-gateway\n                port:\n                  number: {{ .Values.gateway.service.port }}\n{{- end }}\n",
        ),
        (
            "README.md",
            "# Shop\n\n## Installing\n\nRun `helm install shop .` and open the gateway.\n\n## Scaling\n\nThe catalogue scales by `catalogue.replicas`.\n",
        ),
    ]
}

/// A change that writes a file.
pub(crate) fn write(path: &str, text: &str) -> FileChange {
    FileChange {
        change: Some(Change::Write(WriteFile {
            path: path.into(),
            content: text.as_bytes().to_vec().into(),
            ..Default::default()
        })),
    }
}

/// Commits changes on a base.
pub(crate) async fn commit(client: &Client, workspace: &str, base: &str, changes: Vec<FileChange>) -> Result<Revision, Status> {
    let request = CommitRevisionRequest {
        workspace_id: workspace.into(),
        base_revision_id: base.into(),
        changes,
        message: "change".into(),
        ..Default::default()
    };
    Ok(client.files.clone().commit_revision(request).await?.into_inner().revision.expect("a revision"))
}

/// A workspace with these files as revision 1.
pub(crate) async fn workspace(client: &Client, files: &[(&str, &str)]) -> (String, Revision) {
    let request = CreateWorkspaceRequest { name: "shop".into(), ..Default::default() };
    let created = client.files.clone().create_workspace(request).await.expect("a workspace").into_inner();
    let id = created.workspace.expect("a workspace").id;
    let changes = files.iter().map(|(path, text)| write(path, text)).collect();
    let revision = commit(client, &id, "", changes).await.expect("revision 1");
    (id, revision)
}

/// A file's text at a revision; empty id: the head.
pub(crate) async fn read(client: &Client, workspace: &str, revision: &str, path: &str) -> Result<String, Status> {
    let request =
        ReadFileRequest { workspace_id: workspace.into(), revision_id: revision.into(), path: path.into(), ..Default::default() };
    let mut stream = client.files.clone().read_file(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = stream.message().await? {
        if let Some(read_file_response::Part::Chunk(chunk)) = part.part {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(String::from_utf8(bytes).expect("text"))
}

/// Waits until the index has reached a revision.
pub(crate) async fn indexed(client: &Client, workspace: &str, number: u64) -> Index {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let request = GetIndexRequest { workspace_id: workspace.into() };
        if let Ok(response) = client.embedding.clone().get_index(request).await {
            let index = response.into_inner().index.expect("an index");
            assert_ne!(index.state(), IndexState::Failed, "{}", index.failure);
            if index.revision_number >= number && index.state() == IndexState::Ready {
                return index;
            }
        }
        assert!(Instant::now() < deadline, "the index does not reach revision {number}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A conversation, about a workspace or about nothing.
pub(crate) async fn conversation(client: &Client, workspace: &str) -> Conversation {
    let request = CreateConversationRequest { workspace_id: workspace.into(), ..Default::default() };
    client.conversation.clone().create_conversation(request).await.expect("a conversation").into_inner().conversation.expect("it")
}

/// A message to send.
pub(crate) fn message(conversation: &str, text: &str) -> SendMessageRequest {
    SendMessageRequest { conversation_id: conversation.into(), text: text.into(), ..Default::default() }
}

/// Sends a message and collects the run's events to the end.
pub(crate) async fn say(client: &Client, conversation: &str, text: &str) -> Vec<RunEvent> {
    let stream = client.conversation.clone().send_message(message(conversation, text)).await.expect("accepted").into_inner();
    collect(stream, |r| r.event.expect("an event")).await.expect("the stream ends well")
}

/// Every stored event of a run after a sequence, to the terminal one; snapshots and heartbeats are left out.
pub(crate) async fn watch(client: &Client, run: &str, after: u64) -> Result<Vec<RunEvent>, Status> {
    let request = WatchRunRequest { run_id: run.into(), after_sequence: after };
    let stream = client.conversation.clone().watch_run(request).await?.into_inner();
    let mut events = collect(stream, |r| r.event.expect("an event")).await?;
    events.retain(|e| e.sequence > 0);
    Ok(events)
}

/// Reads a stream to its end.
pub(crate) async fn collect<R, T>(mut stream: tonic::Streaming<R>, part: impl Fn(R) -> T) -> Result<Vec<T>, Status> {
    let mut all = Vec::new();
    while let Some(response) = stream.message().await? {
        all.push(part(response));
    }
    Ok(all)
}

/// The text that a run's deltas add up to, after its last restart.
pub(crate) fn text(events: &[RunEvent]) -> String {
    let mut text = String::new();
    for event in events {
        match &event.event {
            Some(run_event::Event::Restarted(_)) => text.clear(),
            Some(run_event::Event::Text(delta)) => text.push_str(&delta.text),
            _ => {}
        }
    }
    text
}

/// The run and its answer as `completed` shows them.
pub(crate) fn completed(events: &[RunEvent]) -> (Run, Message) {
    match events.last().and_then(|e| e.event.clone()) {
        Some(run_event::Event::Completed(end)) => (end.run.expect("a run"), end.message.expect("an answer")),
        other => panic!("the run did not complete but ended with {other:?}"),
    }
}

/// The plan that a run left ready.
pub(crate) fn ready_plan(events: &[PlanEvent]) -> Plan {
    match events.last().and_then(|e| e.event.clone()) {
        Some(plan_event::Event::Ready(plan)) => plan,
        other => panic!("the plan is not ready: {other:?}"),
    }
}

/// The sequences of stored events must be dense.
pub(crate) fn assert_dense(sequences: impl Iterator<Item = u64>, first: u64) {
    for (offset, sequence) in sequences.enumerate() {
        assert_eq!(sequence, first + offset as u64, "a gap or a repeat");
    }
}
