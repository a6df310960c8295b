//! Git both ways, with the real program: what is exported is cloned, what is cloned is imported.

use std::process::{Command, Stdio};

use axum::body::Bytes as Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use pb::import_git_request::Source;

use super::*;
use crate::ImportSettings;

/// Runs git with a user and without anybody's configuration.
fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "somebody").env(format!("GIT_{role}_EMAIL"), "somebody@example.com");
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn put(dir: &Path, path: &str, content: &[u8]) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn commit_all(dir: &Path, message: &str) {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "--allow-empty", "-m", message]);
}

/// A repository with four commits, a tag and a link.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    put(dir.path(), "chart/Chart.yaml", b"name: shop\n");
    put(dir.path(), "README.md", b"# shop\n");
    commit_all(dir.path(), "first");
    put(dir.path(), "chart/values.yaml", b"replicas: 1\n");
    put(dir.path(), "large.bin", &vec![7; (3 << 20) + 1]);
    commit_all(dir.path(), "second\n\nwith a body");
    git(dir.path(), &["tag", "v1"]);
    put(dir.path(), "chart/values.yaml", b"replicas: 2\n");
    put(dir.path(), "run.sh", b"#!/bin/sh\n");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("chart/link")).unwrap();
    git(dir.path(), &["add", "-A"]);
    git(dir.path(), &["update-index", "--chmod=+x", "run.sh"]);
    git(dir.path(), &["commit", "-q", "-m", "third"]);
    git(dir.path(), &["checkout", "-q", "-b", "other"]);
    put(dir.path(), "other.txt", b"other\n");
    commit_all(dir.path(), "elsewhere");
    git(dir.path(), &["checkout", "-q", "main"]);
    dir
}

fn bundle(dir: &Path) -> Vec<u8> {
    let file = dir.join(".git/all.bundle");
    git(dir, &["bundle", "create", "-q", file.to_str().unwrap(), "--all", "HEAD"]);
    std::fs::read(file).unwrap()
}

impl User {
    async fn import_git(&self, house: &House, request: pb::ImportGitRequest) -> Result<pb::ImportGitResponse, Status> {
        Ok(house.transfer.clone().import_git(self.ctx.request(request)).await?.into_inner())
    }

    pub(super) async fn import_bundle(
        &self,
        house: &House,
        bundle: &[u8],
        request: pb::ImportGitRequest,
    ) -> Result<pb::ImportGitResponse, Status> {
        let hash = uploads::Sender::of(house, self).upload(bundle).await.content_hash;
        self.import_git(house, pb::ImportGitRequest { source: Some(Source::BundleHash(hash)), ..request }).await
    }

    pub(super) async fn export_git(&self, house: &House, workspace: &str, branch: &str) -> Result<Vec<u8>, Status> {
        let request = pb::ExportGitRequest { workspace_id: workspace.into(), branch: branch.into(), ..Default::default() };
        let chunks = house.transfer.clone().export_git(self.ctx.request(request)).await?.into_inner();
        let chunks: Vec<_> = chunks.try_collect().await?;
        assert!(chunks.iter().all(|c| c.chunk.len() <= 1 << 20));
        Ok(chunks.iter().flat_map(|c| c.chunk.to_vec()).collect())
    }

    async fn revisions(&self, workspace: &str) -> Vec<pb::Revision> {
        let request = pb::ListRevisionsRequest { workspace_id: workspace.into(), ..Default::default() };
        self.client.clone().list_revisions(self.ctx.request(request)).await.unwrap().into_inner().revisions
    }
}

fn into(workspace: &str) -> pb::ImportGitRequest {
    pb::ImportGitRequest { workspace_id: workspace.into(), ..Default::default() }
}

#[tokio::test]
async fn what_is_exported_can_be_cloned_and_is_the_history() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a/b/c", "1\n"), write("a-b", "x"), write("a.c", ""), program("run.sh", "#!/bin/sh\n")]).await;
    user.commit(&id, vec![write("big", vec![9; 3 << 20]), write("a/b/c", "2\n")]).await;
    user.commit(&id, vec![rename("a-b", "ü/ß"), delete("a.c")]).await;
    let restore = pb::RestoreRevisionRequest {
        workspace_id: id.clone(),
        revision_id: user.revisions(&id).await[2].id.clone(),
        message: "back\n\nto the start".into(),
        ..Default::default()
    };
    user.client.clone().restore_revision(user.ctx.request(restore)).await.unwrap();
    let exported = user.export_git(&house, &id, "").await.unwrap();
    assert!(exported == user.export_git(&house, &id, "").await.unwrap(), "the same bytes each time");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("w.bundle"), &exported).unwrap();
    git(dir.path(), &["clone", "-q", "w.bundle", "clone"]);
    let clone = dir.path().join("clone");
    git(&clone, &["fsck", "--strict", "--no-dangling"]);
    assert_eq!(git(&clone, &["branch", "--show-current"]).trim(), "main");
    let log = git(&clone, &["log", "-z", "--format=%an%n%at%n%H%n%B"]);
    let commits: Vec<Vec<&str>> = log.split_terminator('\0').map(|record| record.splitn(4, '\n').collect()).collect();
    let revisions = user.revisions(&id).await;
    assert_eq!(commits.len(), revisions.len());
    for (commit, revision) in commits.iter().zip(&revisions) {
        assert_eq!(commit[0], revision.author_id);
        assert_eq!(commit[1], revision.create_time.unwrap().seconds.to_string());
        assert_eq!(commit[3].trim_end(), revision.message);
        // Every file of the tree, its mode and its bytes.
        let listed = git(&clone, &["-c", "core.quotePath=false", "ls-tree", "-r", "--format=%(objectmode) %(path)", commit[2]]);
        let request = pb::ListFilesRequest { workspace_id: id.clone(), revision_id: revision.id.clone(), ..Default::default() };
        let files = user.list_files(request).await.unwrap().files;
        let mode = |f: &pb::FileEntry| if f.executable { "100755" } else { "100644" };
        let mut expected: Vec<_> = files.iter().map(|f| format!("{} {}", mode(f), f.path)).collect();
        let mut listed: Vec<_> = listed.lines().map(str::to_owned).collect();
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected);
        for file in files {
            let content = user.read(&id, &revision.id, &file.path).await.unwrap().1;
            let blob = git(&clone, &["rev-parse", &format!("{}:{}", commit[2], file.path)]);
            let hashed =
                Command::new("git").args(["hash-object", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let mut hashed = hashed.unwrap();
            std::io::Write::write_all(&mut hashed.stdin.take().unwrap(), &content).unwrap();
            assert_eq!(blob, String::from_utf8(hashed.wait_with_output().unwrap().stdout).unwrap(), "{}", file.path);
        }
    }
    let other = user.workspace("copy").await.id;
    let copied = user.import_bundle(&house, &exported, pb::ImportGitRequest { commits: 100, ..into(&other) }).await.unwrap();
    assert_eq!((copied.revisions, &copied.revision.unwrap().hash), (4, &revisions[0].hash), "there and back again");
    let hashes = |revisions: Vec<pb::Revision>| revisions.into_iter().map(|r| (r.number, r.hash, r.message)).collect::<Vec<_>>();
    assert_eq!(hashes(user.revisions(&other).await), hashes(revisions));
}

#[tokio::test]
async fn what_no_tree_may_have_is_not_exported() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    assert_eq!(reason(user.export_git(&house, &id, "").await), "REVISION_NOT_FOUND");
    user.commit(&id, vec![write("a/.GIT/config", "x")]).await;
    let (code, reason, facts) = refusal(user.export_git(&house, &id, "").await);
    assert_eq!(
        (code, reason.as_str(), facts["path"].as_str()),
        (Code::FailedPrecondition, "EXPORT_UNSUPPORTED", "a/.GIT/config")
    );
    assert_eq!(fields(user.export_git(&house, &id, "a..b").await), ["branch"]);
}

#[tokio::test]
async fn a_bundle_is_imported_tip_or_history() {
    let house = House::start().await;
    let user = User::of(&house);
    let source = repository();
    let bundle = bundle(source.path());
    let id = user.workspace("tip").await.id;
    let tip = user.import_bundle(&house, &bundle, into(&id)).await.unwrap();
    let revision = tip.revision.unwrap();
    assert_eq!((tip.revisions, revision.number, revision.message.as_str()), (1, 1, "third"));
    assert_eq!(tip.skipped, ["chart/link"]);
    assert_eq!(tip.commit_id, git(source.path(), &["rev-parse", "HEAD"]).trim());
    assert_eq!(user.paths(&id, "").await, ["README.md", "chart/Chart.yaml", "chart/values.yaml", "large.bin", "run.sh"]);
    assert!(user.read(&id, "", "run.sh").await.unwrap().0.executable);
    assert_eq!(user.read(&id, "", "large.bin").await.unwrap().1, vec![7; (3 << 20) + 1]);

    let id = user.workspace("history").await.id;
    let request = pb::ImportGitRequest { commits: 2, folder: "chart".into(), request_id: "once".into(), ..into(&id) };
    let history = user.import_bundle(&house, &bundle, request.clone()).await.unwrap();
    assert_eq!(history.revisions, 2);
    let revisions = user.revisions(&id).await;
    let messages: Vec<_> = revisions.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(messages, ["third", "second\n\nwith a body"]);
    assert_eq!(user.paths(&id, "").await, ["Chart.yaml", "values.yaml"]);
    assert_eq!(user.read(&id, &revisions[1].id, "values.yaml").await.unwrap().1, b"replicas: 1\n");
    let again = user.import_bundle(&house, &bundle, request).await.unwrap();
    assert_eq!((again.revision.unwrap().id, again.revisions), (revisions[0].id.clone(), 0));
    assert_eq!(user.revisions(&id).await.len(), 2);

    let id = user.workspace("tag").await.id;
    let tag = user.import_bundle(&house, &bundle, pb::ImportGitRequest { reference: "v1".into(), ..into(&id) }).await.unwrap();
    assert_eq!(tag.revision.unwrap().message, "second\n\nwith a body");
    let stale = pb::ImportGitRequest { reference: "other".into(), ..into(&id) };
    assert_eq!(reason(user.import_bundle(&house, &bundle, stale).await), "BASE_REVISION_STALE");
    for (request, expected) in [
        (pb::ImportGitRequest { reference: "none".into(), ..into(&id) }, "IMPORT_REFUSED"),
        (pb::ImportGitRequest { folder: "nowhere".into(), ..into(&id) }, "IMPORT_REFUSED"),
        (pb::ImportGitRequest { folder: "../x".into(), ..into(&id) }, "PATH_INVALID"),
    ] {
        assert_eq!(reason(user.import_bundle(&house, &bundle, request).await), expected);
    }
    assert_eq!(archives::files_below(&house.dir().join("spool")), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_bundle_that_is_hostile_changes_nothing() {
    let house = House::start().await;
    let user = User::of(&house);
    let source = repository();
    let good = bundle(source.path());
    let id = user.workspace("w").await.id;
    let mut cases = vec![Vec::new(), b"nonsense".to_vec(), b"# v2 git bundle\n".to_vec(), good[..good.len() / 2].to_vec()];
    let mut flipped = good.clone();
    let at = flipped.len() - 500;
    flipped[at] ^= 0xff;
    cases.push(flipped);
    // A name that would leave the tree, which git itself refuses to check out but not to store.
    let evil = tempfile::tempdir().unwrap();
    git(evil.path(), &["init", "-q", "-b", "main"]);
    put(evil.path(), "x", b"evil");
    let blob = git(evil.path(), &["hash-object", "-w", "x"]).trim().to_owned();
    for name in ["..", ".git", "a\\b", "con", "A:b"] {
        let mut tree = Command::new("git");
        tree.current_dir(evil.path()).args(["mktree"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tree = tree.spawn().unwrap();
        std::io::Write::write_all(&mut tree.stdin.take().unwrap(), format!("100644 blob {blob}\t{name}\n").as_bytes()).unwrap();
        let tree = String::from_utf8(tree.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
        let commit = git(evil.path(), &["commit-tree", "-m", "evil", &tree]).trim().to_owned();
        git(evil.path(), &["update-ref", "refs/heads/main", &commit]);
        cases.push(bundle(evil.path()));
    }
    for (n, case) in cases.into_iter().enumerate() {
        let reason = reason(user.import_bundle(&house, &case, into(&id)).await);
        assert!(matches!(reason.as_str(), "IMPORT_REFUSED" | "PATH_INVALID"), "case {n}: {reason}");
    }
    assert_eq!(user.get(&id).await.unwrap().head_number, 0);
    assert_eq!(archives::files_below(&house.dir().join("spool")), 0);
}

/// Serves repositories below a directory over HTTP, as `git http-backend` does.
async fn serve(root: &Path) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(backend).with_state(root.to_owned());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

async fn backend(State(root): State<std::path::PathBuf>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut command = tokio::process::Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_INFO", parts.uri.path()).env("QUERY_STRING", parts.uri.query().unwrap_or_default());
    command.env("REQUEST_METHOD", parts.method.as_str()).env("CONTENT_TYPE", header("content-type"));
    command.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
    let body: Body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    command.env("CONTENT_LENGTH", body.len().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move { drop(tokio::io::AsyncWriteExt::write_all(&mut stdin, &body).await) };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(output.len() - 4);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let status = field("Status:").get(..3).and_then(|code| code.parse().ok()).unwrap_or(200_u16);
    let kind = [(axum::http::header::CONTENT_TYPE, field("Content-Type:"))];
    (axum::http::StatusCode::from_u16(status).unwrap(), kind, output[end + 4..].to_vec()).into_response()
}

fn url(url: String, workspace: &str) -> pb::ImportGitRequest {
    pb::ImportGitRequest { source: Some(Source::Url(url)), ..into(workspace) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_imported_by_its_address() {
    let source = repository();
    let server = serve(source.path()).await;
    let import = ImportSettings { private_addresses: true, http: true, ..Default::default() };
    let house = House::with(Settings { import: import.clone(), ..Settings::default() }).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let address = format!("{server}/.git");
    let request = pb::ImportGitRequest { commits: 2, ..url(address.clone(), &id) };
    let imported = user.import_git(&house, request).await.unwrap();
    assert_eq!((imported.revisions, imported.revision.unwrap().message.as_str()), (2, "third"));
    let other = user.workspace("other").await.id;
    let request = pb::ImportGitRequest { reference: "other".into(), ..url(address.clone(), &other) };
    user.import_git(&house, request).await.unwrap();
    assert!(user.paths(&other, "").await.contains(&"other.txt".to_owned()));
    let third = user.workspace("third").await.id;
    for (request, field) in [
        (url(format!("{server}/nowhere"), &third), "IMPORT_REFUSED"),
        (pb::ImportGitRequest { reference: "none".into(), ..url(address.clone(), &third) }, "IMPORT_REFUSED"),
        (url("file:///etc".into(), &third), "IMPORT_REFUSED"),
        (url(format!("ext::sh -c touch% {}/pwned", house.dir().display()), &third), "IMPORT_REFUSED"),
        (url(source.path().display().to_string(), &third), "IMPORT_REFUSED"),
    ] {
        assert_eq!(reason(user.import_git(&house, request).await), field);
    }
    assert!(!house.dir().join("pwned").exists());
    for reference in ["--upload-pack=x", "a..b", "a:b", "a b"] {
        let request = pb::ImportGitRequest { reference: reference.into(), ..url(address.clone(), &third) };
        assert_eq!(fields(user.import_git(&house, request).await), ["reference"]);
    }
    let small = ImportSettings { max_mib: 1, ..import };
    let house = House::with(Settings { import: small, ..Settings::default() }).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    put(source.path(), "noise", &noise(6 << 20));
    commit_all(source.path(), "large");
    // It may come faster than anybody looks; then the limits of files hold.
    let _ = user.import_git(&house, url(address, &id)).await;
    assert_eq!(archives::files_below(&house.dir().join("spool")), 0);
}

/// What does not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn private_networks_and_plain_text_are_refused_unless_they_are_allowed() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    for address in [
        "https://127.0.0.1:1/x",
        "https://localhost/x",
        "https://169.254.169.254/latest",
        "http://example.com/x",
        "https://u:p@example.com/x",
    ] {
        let (code, reason, _) = refusal(user.import_git(&house, url(address.into(), &id)).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "IMPORT_REFUSED"), "{address}");
    }
    assert_eq!(fields(user.import_git(&house, into(&id)).await), ["url"]);
}
