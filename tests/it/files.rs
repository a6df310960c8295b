//! Workspaces: revisions that destroy nothing, archives both ways, hostile input, differences that git applies.

use std::io::Write as _;
use std::process::{Command, Stdio};

use slipway_proto::filestore::import_archive_request::Part;
use slipway_proto::filestore::{
    ArchiveFormat, DiffRevisionsRequest, ExportArchiveRequest, FileChange, GetWorkspaceRequest, ImportArchiveHeader,
    ImportArchiveRequest, ListFilesRequest, RenameFile, RestoreRevisionRequest, Revision, SearchFilesRequest, file_change,
};
use slipway_testkit::suite::Client;
use tonic::{Code, Status};

use crate::story::{self, commit, refused, suite, write};

async fn import(client: &Client, workspace: &str, base: &str, format: ArchiveFormat, bytes: &[u8]) -> Result<Revision, Status> {
    let header = ImportArchiveHeader {
        workspace_id: workspace.into(),
        base_revision_id: base.into(),
        format: format.into(),
        ..Default::default()
    };
    let mut parts = vec![ImportArchiveRequest { part: Some(Part::Header(header)) }];
    parts.extend(bytes.chunks(1000).map(|c| ImportArchiveRequest { part: Some(Part::Chunk(c.to_vec().into())) }));
    Ok(client.files.clone().import_archive(futures::stream::iter(parts)).await?.into_inner().revision.unwrap())
}

async fn export(client: &Client, workspace: &str, revision: &str, format: ArchiveFormat) -> Vec<u8> {
    let request = ExportArchiveRequest {
        workspace_id: workspace.into(),
        revision_id: revision.into(),
        format: format.into(),
        ..Default::default()
    };
    let stream = client.files.clone().export_archive(request).await.unwrap().into_inner();
    story::collect(stream, |r| r.chunk.to_vec()).await.unwrap().concat()
}

fn tar_gz(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { content.len() as u64 } else { 0 });
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, if kind.is_file() { content.as_bytes() } else { b"" }).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn an_archive_goes_in_and_comes_out_the_same_each_time() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (first, revision) = story::workspace(&client, &story::small_chart()).await;
    for format in [ArchiveFormat::TarGz, ArchiveFormat::Zip] {
        let bytes = export(&client, &first, "", format).await;
        assert_eq!(bytes, export(&client, &first, &revision.id, format).await, "byte for byte the same");
        let (second, base) = story::workspace(&client, &[("old.txt", "old\n")]).await;
        let copy = import(&client, &second, &base.id, format, &bytes).await.unwrap();
        assert_eq!((copy.hash.as_str(), copy.number), (revision.hash.as_str(), 2));
        let files =
            client.files.clone().list_files(ListFilesRequest { workspace_id: second, ..Default::default() }).await.unwrap();
        assert_eq!(files.into_inner().files.len(), story::small_chart().len());
    }
}

#[tokio::test]
async fn a_hostile_archive_is_refused_whole() {
    use tar::EntryType as T;
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &[("a.txt", "a\n")]).await;
    let good = ("x/good.txt", T::Regular, "good");
    let hostile: Vec<(Vec<u8>, &str)> = vec![
        (tar_gz(&[good, ("../../etc/passwd", T::Regular, "x")]), "traversal"),
        (tar_gz(&[good, ("/etc/passwd", T::Regular, "x")]), "absolute"),
        (tar_gz(&[good, ("x/link", T::Symlink, "")]), "symlink"),
        (tar_gz(&[good, ("x/link", T::Link, "")]), "hard link"),
        (tar_gz(&[good, ("x/dev", T::Char, "")]), "device"),
        (tar_gz(&[good, ("x/GOOD.txt", T::Regular, "x")]), "case"),
        (tar_gz(&[good])[..40].to_vec(), "truncated"),
        (b"not an archive at all".to_vec(), "garbage"),
        (Vec::new(), "empty"),
    ];
    for (bytes, what) in hostile {
        let status = import(&client, &workspace, &base.id, ArchiveFormat::TarGz, &bytes).await.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert!(matches!(story::reason(&status).as_str(), "ARCHIVE_INVALID" | "PATH_INVALID"), "{what}: {status:?}");
    }
    let head = client.files.clone().get_workspace(GetWorkspaceRequest { workspace_id: workspace }).await.unwrap().into_inner();
    assert_eq!(head.workspace.unwrap().head_revision_id, base.id, "nothing was written");
}

#[tokio::test]
async fn hostile_paths_are_refused() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &[("a.txt", "a\n")]).await;
    let long = "x".repeat(2000);
    for path in ["../a", "/etc/passwd", "a/../../b", "a//b", "./a", "a/", "a\\b", "c:/x", "a\u{7}b", "A.txt", &long, "."] {
        let status = commit(&client, &workspace, &base.id, vec![write(path, "x")]).await.expect_err(path);
        assert!(matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition), "{path}: {status:?}");
        story::reason(&status);
    }
}

#[tokio::test]
async fn a_stale_base_is_aborted_with_the_head_and_one_of_two_writers_wins() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &[("a.txt", "a\n")]).await;
    let writers =
        (0..8).map(|n| commit(&client, &workspace, &base.id, vec![write("a.txt", Box::leak(format!("{n}\n").into_boxed_str()))]));
    let results = futures::future::join_all(writers).await;
    let winners: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    for status in results.iter().filter_map(|r| r.as_ref().err()) {
        assert_eq!((status.code(), story::reason(status).as_str()), (Code::Aborted, "BASE_REVISION_STALE"));
        assert_eq!(story::fact(status, "head_revision_id"), winners[0].id);
        assert_eq!(story::fact(status, "head_number"), "2");
    }
}

#[tokio::test]
async fn restoring_adds_a_revision_and_destroys_nothing() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, first) = story::workspace(&client, &story::small_chart()).await;
    let second =
        commit(&client, &workspace, &first.id, vec![write("values.yaml", "a: 1\n"), write("new.txt", "new\n")]).await.unwrap();
    let request = RestoreRevisionRequest { workspace_id: workspace.clone(), revision_id: first.id.clone(), ..Default::default() };
    let third = client.files.clone().restore_revision(request).await.unwrap().into_inner().revision.unwrap();
    assert_eq!((third.number, &third.hash, &third.restored_from_id), (3, &first.hash, &first.id));
    assert_eq!(story::read(&client, &workspace, &second.id, "new.txt").await.unwrap(), "new\n", "revision 2 is still there");
    refused(story::read(&client, &workspace, "", "new.txt").await, Code::NotFound, "FILE_NOT_FOUND");
}

#[tokio::test]
async fn git_applies_our_differences() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let before = [("keep.txt", "1\n2\n3\n4\n5\n"), ("gone.txt", "x\n"), ("edge.txt", "no newline"), ("old.txt", "moved\n")];
    let (workspace, first) = story::workspace(&client, &before).await;
    let rename = RenameFile { path: "old.txt".into(), new_path: "sub/new.txt".into(), ..Default::default() };
    let rename = FileChange { change: Some(file_change::Change::Rename(rename)) };
    let delete = slipway_proto::filestore::DeleteFile { path: "gone.txt".into(), ..Default::default() };
    let delete = FileChange { change: Some(file_change::Change::Delete(delete)) };
    let changes = vec![
        write("keep.txt", "1\n2\nthree\n4\n5\n6\n"),
        write("edge.txt", "newline\n"),
        write("sub dir/é.txt", "new"),
        rename,
        delete,
    ];
    let second = commit(&client, &workspace, &first.id, changes).await.unwrap();
    let request = DiffRevisionsRequest {
        workspace_id: workspace.clone(),
        from_revision_id: first.id,
        to_revision_id: second.id.clone(),
        ..Default::default()
    };
    let diff = client.files.clone().diff_revisions(request).await.unwrap().into_inner();
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in before {
        std::fs::write(directory.path().join(path), text).unwrap();
    }
    let mut git = Command::new("git")
        .args(["apply", "--whitespace=nowarn", "-"])
        .current_dir(&directory)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let patch: String = diff.files.iter().map(|f| f.unified.as_str()).collect();
    git.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    assert!(git.wait().unwrap().success(), "{patch}");
    let files = client
        .files
        .clone()
        .list_files(ListFilesRequest { workspace_id: workspace.clone(), ..Default::default() })
        .await
        .unwrap();
    for file in files.into_inner().files {
        let ours = story::read(&client, &workspace, &second.id, &file.path).await.unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join(&file.path)).unwrap(), ours, "{}", file.path);
    }
    assert!(!directory.path().join("gone.txt").exists() && !directory.path().join("old.txt").exists());
}

#[tokio::test]
async fn files_are_found_by_glob_and_pattern() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let request = ListFilesRequest { workspace_id: workspace.clone(), glob: "templates/**/*.yaml".into(), ..Default::default() };
    let files = client.files.clone().list_files(request).await.unwrap().into_inner().files;
    assert_eq!(files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["templates/gateway.yaml", "templates/ingress.yaml"]);
    let request = SearchFilesRequest {
        workspace_id: workspace.clone(),
        pattern: r"replicas:\s+\d".into(),
        regex: true,
        ..Default::default()
    };
    let found = client.files.clone().search_files(request).await.unwrap().into_inner();
    let found: Vec<_> = found.matches.iter().map(|m| (m.path.as_str(), m.line)).collect();
    assert_eq!(found, [("values.yaml", 4), ("values.yaml", 18)]);
    let request = SearchFilesRequest { workspace_id: workspace, pattern: "(".into(), regex: true, ..Default::default() };
    refused(client.files.clone().search_files(request).await, Code::InvalidArgument, "PATTERN_INVALID");
}
