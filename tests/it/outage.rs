//! A disk that is full, and a store of contents that is away: a clear error, the head as it was, and everything goes on when
//! there is room again.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use slipway_proto::filestore::{CreateWorkspaceRequest, GetWorkspaceRequest, Workspace};
use slipway_testkit::SuiteOptions;
use slipway_testkit::daemon::Daemon;
use slipway_testkit::s3::S3;
use slipway_testkit::suite::{Client, free_port};
use slipway_testkit::tools::skipped;
use tempfile::TempDir;
use tonic::Code;

use crate::story::{self, binary, commit, only_for_one_process, refused, suite_with, write};

/// Mounts a small disk and becomes the program that is to fill it.
const ON_SMALL_DISK: &str = r#"#!/bin/sh
exec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=160m none "$0" && exec "$@"' "$SMALL_DISK" "$PROGRAM" "$@"
"#;

/// A suite whose state, contents and index are on a disk of 160 MiB.
struct SmallDisk {
    _daemon: Daemon,
    client: Client,
    disk: PathBuf,
    _directory: TempDir,
}

impl SmallDisk {
    /// Nothing where the system lets nobody mount a disk of his own.
    async fn start(test: &str) -> Option<Self> {
        let mut probe = Command::new("unshare");
        probe.args(["--user", "--map-root-user", "--mount", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            skipped(test, "this system has no user namespaces, and with them no small disk");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (script, disk, port) = (directory.path().join("slipway"), directory.path().join("disk"), free_port().unwrap());
        std::fs::create_dir(&disk).unwrap();
        std::fs::write(&script, ON_SMALL_DISK).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut daemon = Daemon::new(&script, &["up"], directory.path(), "slipway");
        for (name, value) in [
            ("PROGRAM", binary().display().to_string()),
            ("SMALL_DISK", disk.display().to_string()),
            ("SLIPWAY_DATA_DIR", disk.join("data").display().to_string()),
            ("SLIPWAY_LISTEN", format!("127.0.0.1:{port}")),
            ("SLIPWAY_TELEMETRY__METRICS_LISTEN", String::new()),
        ] {
            daemon.set(name, value);
        }
        daemon.spawn().unwrap();
        daemon.listening(port).await.unwrap();
        let client = Client::connect(&format!("http://127.0.0.1:{port}"), None).unwrap();
        // The disk is in the mounts of that process alone.
        let disk = PathBuf::from(format!("/proc/{}/root", daemon.pid().unwrap())).join(disk.strip_prefix("/").unwrap());
        Some(Self { _daemon: daemon, client, disk, _directory: directory })
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Ballast {
        let path = self.disk.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        Ballast(path)
    }
}

/// What takes the room; dropped, it gives it back.
struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn workspace(client: &Client, id: &str) -> Workspace {
    let request = GetWorkspaceRequest { workspace_id: id.into() };
    client.files.clone().get_workspace(request).await.unwrap().into_inner().workspace.unwrap()
}

/// A text of a megabyte that is like no other and does not compress.
fn large(seed: u64) -> String {
    let mut state = seed;
    let mut text = String::with_capacity(1 << 20);
    while text.len() < 1 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}\n"));
    }
    text
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let test = "a_full_disk_refuses_and_loses_nothing";
    if only_for_one_process(test, "the stores are not on a disk of ours") {
        return;
    }
    let Some(small) = SmallDisk::start(test).await else { return };
    let client = &small.client;
    let (id, first) = story::workspace(client, &story::small_chart()).await;
    story::indexed(client, &id, 1).await;
    let ballast = small.fill();

    let status = refused(
        commit(client, &id, &first.id, vec![write("large.txt", &large(1))]).await,
        Code::ResourceExhausted,
        "STORAGE_FULL",
    );
    assert!(status.message().contains("operator"), "{status:?}");
    // The database has some room in its files; when it has none, it says the same.
    let mut made = 0;
    let refusal = loop {
        let name = format!("workspace {made} {}", "x".repeat(100));
        match client.files.clone().create_workspace(CreateWorkspaceRequest { name, ..Default::default() }).await {
            Ok(_) => made += 1,
            Err(status) => break status,
        }
        assert!(made < 100_000, "the database has room on a full disk");
    };
    refused::<()>(Err(refusal), Code::ResourceExhausted, "STORAGE_FULL");
    assert_eq!(workspace(client, &id).await.head_revision_id, first.id, "the head has moved");
    for (path, text) in story::small_chart() {
        assert_eq!(story::read(client, &id, "", path).await.unwrap(), text);
    }

    drop(ballast);
    let second = commit(client, &id, &first.id, vec![write("large.txt", &large(1))]).await.unwrap();
    assert_eq!(second.number, 2);
    assert_eq!(story::read(client, &id, "", "large.txt").await.unwrap(), large(1));
    story::indexed(client, &id, 2).await;
}

#[tokio::test]
async fn contents_that_are_away_leave_the_head_alone() {
    let test = "contents_that_are_away_leave_the_head_alone";
    if only_for_one_process(test, "the bucket of the suite is shared") {
        return;
    }
    let Some(mut s3) = S3::start().await else { return };
    let bucket = s3.bucket().unwrap();
    let mut options = SuiteOptions::default();
    for (name, value) in [
        ("BUCKET", bucket.name.as_str()),
        ("REGION", bucket.region),
        ("ENDPOINT", &bucket.endpoint),
        ("ACCESS_KEY_ID", bucket.access_key),
        ("SECRET_ACCESS_KEY", bucket.secret_key),
        ("ALLOW_HTTP", "true"),
    ] {
        options.env.push((format!("SLIPWAY_FILE_STORE__S3__{name}"), value.to_owned()));
    }
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let (id, first) = story::workspace(&client, &story::small_chart()).await;
    s3.kill().await.unwrap();

    let status =
        refused(commit(&client, &id, &first.id, vec![write("new.txt", "new\n")]).await, Code::Unavailable, "SERVICE_UNAVAILABLE");
    assert!(status.message().contains("object store"), "{status:?}");
    assert_eq!(workspace(&client, &id).await.head_revision_id, first.id, "the head has moved");
    refused(story::read(&client, &id, "", "README.md").await, Code::Unavailable, "SERVICE_UNAVAILABLE");

    s3.restart().await.unwrap();
    let second = commit(&client, &id, &first.id, vec![write("new.txt", "new\n")]).await.unwrap();
    assert_eq!((second.number, second.file_count), (2, first.file_count + 1));
    for (path, text) in story::small_chart() {
        assert_eq!(story::read(&client, &id, "", path).await.unwrap(), text);
    }
}
