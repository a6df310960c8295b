//! `slipway files upload`, `download`, `secrets` and `export`: contents in and out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use slipway_proto::filestore::file_change::Change;
use slipway_proto::filestore::read_file_response::Part as ReadPart;
use slipway_proto::filestore::upload_part_request::Part;
use slipway_proto::filestore::{
    BeginUploadRequest, CommitRevisionRequest, CommitRevisionResponse, ExportGitRequest, FileChange, FinishUploadRequest,
    GetUploadRequest, ListSecretFindingsRequest, ListSecretFindingsResponse, ReadFileRequest, Upload, UploadPartHeader,
    UploadPartRequest, WriteFile,
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;
use tonic::Code;
use uuid::Uuid;

use crate::client::{Api, Rev, required};
use crate::error::Failure;
use crate::output::{Out, Progress, bytes, count};

/// The API takes at most 1 MiB a message.
const CHUNK: usize = 512 << 10;
/// How often a broken upload goes on by itself, and after how long.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Sends a file, and commits it.
pub(super) async fn upload(
    api: &Api,
    out: &Out,
    workspace: &str,
    file: &Path,
    path: Option<String>,
    resume: Option<String>,
    message: String,
) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let path = path.or(name).ok_or_else(|| Failure::usage("say where the file goes with --path"))?;
    let content_hash = send_file(api, out, file, resume).await?;
    let write = WriteFile { path, content_hash, ..Default::default() };
    let request = CommitRevisionRequest {
        workspace_id: workspace.id,
        base_revision_id: workspace.head_revision_id,
        changes: vec![FileChange { change: Some(Change::Write(write)) }],
        message,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let response = api.files.clone().commit_revision(request).await?.into_inner();
    if out.json("filestore.v1.CommitRevisionResponse", &response)? {
        return Ok(());
    }
    let CommitRevisionResponse { revision, .. } = response;
    let revision = required(revision, "revision")?;
    out.line(format!("{} revision {}", out.paint.bold(&workspace.name), revision.number))
}

/// Sends the content of a file, and gives its hash.
pub(super) async fn send_file(api: &Api, out: &Out, file: &Path, resume: Option<String>) -> anyhow::Result<String> {
    let failed = || format!("cannot read {}", file.display());
    let size = tokio::fs::metadata(file).await.with_context(failed)?.len();
    let upload = match resume {
        Some(upload_id) => {
            let request = GetUploadRequest { upload_id };
            required(api.transfer.clone().get_upload(request).await?.into_inner().upload, "upload")?
        }
        None => {
            let whole = file.to_owned();
            let hash = tokio::task::spawn_blocking(move || hash_of(&whole)).await?.with_context(failed)?;
            let request = BeginUploadRequest { size, blake3: hash, request_id: Uuid::now_v7().to_string(), ..Default::default() };
            required(api.transfer.clone().begin_upload(request).await?.into_inner().upload, "upload")?
        }
    };
    if upload.size != size {
        return Err(Failure::usage(format!("the upload is of {} bytes, and {} has {size}", upload.size, file.display())).into());
    }
    let id = upload.id.clone();
    let progress = Progress::start(size, "up");
    let sent = send_rest(api, file, upload, &progress).await;
    progress.end();
    sent.inspect_err(|_| out.note(format!("to go on: --resume {id}")))
}

async fn send_rest(api: &Api, file: &Path, mut upload: Upload, progress: &Progress) -> anyhow::Result<String> {
    let mut tries = 0;
    while upload.committed_bytes < upload.size {
        progress.at(upload.committed_bytes);
        let sent = send_from(api, file, &upload, progress).await?;
        let at = upload.committed_bytes;
        match sent {
            Ok(further) => upload = further,
            Err(status) if tries < TRIES && matches!(status.code(), Code::Unavailable | Code::Aborted | Code::Unknown) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                let request = GetUploadRequest { upload_id: upload.id.clone() };
                if let Ok(found) = api.transfer.clone().get_upload(request).await {
                    upload = required(found.into_inner().upload, "upload")?;
                }
                if upload.committed_bytes > at {
                    tries = 0;
                }
            }
            Err(status) => return Err(status.into()),
        }
    }
    let request = FinishUploadRequest { upload_id: upload.id };
    Ok(required(api.transfer.clone().finish_upload(request).await?.into_inner().upload, "upload")?.content_hash)
}

async fn send_from(
    api: &Api,
    file: &Path,
    upload: &Upload,
    progress: &Progress,
) -> anyhow::Result<Result<Upload, tonic::Status>> {
    let mut source = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    source.seek(std::io::SeekFrom::Start(upload.committed_bytes)).await?;
    let header = UploadPartHeader { upload_id: upload.id.clone(), offset: upload.committed_bytes };
    let first = UploadPartRequest { part: Some(Part::Header(header)) };
    let progress = progress.clone();
    // A file that cannot be read ends early; the server says then what is missing.
    let chunks = futures::stream::unfold(source, move |mut source| {
        let progress = progress.clone();
        async move {
            let mut chunk = vec![0; CHUNK];
            let n = source.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            chunk.truncate(n);
            progress.more(n as u64);
            Some((UploadPartRequest { part: Some(Part::Chunk(Bytes::from(chunk))) }, source))
        }
    });
    let parts = tokio_stream::once(first).chain(chunks);
    Ok(match api.transfer.clone().upload_part(parts).await {
        Ok(answer) => Ok(required(answer.into_inner().upload, "upload")?),
        Err(status) => Err(status),
    })
}

fn hash_of(file: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Fetches a file, beside its place under another name until it is whole and what it must be.
pub(super) async fn download(
    api: &Api,
    out: &Out,
    workspace: &str,
    path: String,
    output: Option<PathBuf>,
    rev: Rev<'_>,
) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
    let target = output.unwrap_or_else(|| PathBuf::from(&name));
    if target.exists() {
        return Err(Failure::usage(format!("{} is there already; name a new file with --output", target.display())).into());
    }
    let partial = PathBuf::from(format!("{}.part", target.display()));
    let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&partial).await;
    let file = file.as_mut().map_err(|e| anyhow::anyhow!("cannot write {}: {e}", partial.display()))?;
    let offset = file.metadata().await?.len();
    let request = ReadFileRequest { workspace_id: workspace.id, revision_id, path, offset, ..Default::default() };
    let mut stream = api.files.clone().read_file(request).await?.into_inner();
    let Some(ReadPart::File(entry)) = stream.message().await?.and_then(|message| message.part) else {
        bail!("the server's answer has no file; is it another version?")
    };
    let progress = Progress::start(entry.size, "down");
    progress.at(offset);
    while let Some(message) = stream.message().await? {
        if let Some(ReadPart::Chunk(chunk)) = message.part {
            file.write_all(&chunk).await?;
            progress.more(chunk.len() as u64);
        }
    }
    file.flush().await?;
    progress.end();
    let whole = partial.clone();
    let hash = tokio::task::spawn_blocking(move || hash_of(&whole)).await??;
    if hash != entry.hash {
        std::fs::remove_file(&partial)?;
        bail!("what came is not the file: a part of another one may have been there; try again");
    }
    std::fs::rename(&partial, &target).with_context(|| format!("cannot write {}", target.display()))?;
    out.note(format!("wrote {} ({})", target.display(), bytes(entry.size)));
    Ok(())
}

/// Lists what looks like a secret.
pub(super) async fn secrets(api: &Api, out: &Out, workspace: &str, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let (mut all, mut page_token) = (ListSecretFindingsResponse::default(), String::new());
    loop {
        let request = ListSecretFindingsRequest {
            workspace_id: workspace.id.clone(),
            revision_id: revision_id.clone(),
            page_size: 1_000,
            page_token,
        };
        let mut page = api.secrets.clone().list_secret_findings(request).await?.into_inner();
        page_token = std::mem::take(&mut page.next_page_token);
        all.findings.append(&mut page.findings);
        all = ListSecretFindingsResponse { findings: all.findings, ..page };
        if page_token.is_empty() {
            break;
        }
    }
    if out.json("filestore.v1.ListSecretFindingsResponse", &all)? {
        return Ok(());
    }
    for finding in &all.findings {
        let place = format!("{}:{}", finding.path, finding.line);
        out.line(format!("{} {} {}", out.paint.bold(&place), finding.rule, out.paint.dim(&finding.excerpt)))?;
    }
    match (all.scanned, all.findings.is_empty()) {
        (false, _) => out.note("nobody has looked: the server's file_store.secrets is off"),
        (true, true) => out.note("nothing looks like a secret"),
        (true, false) => out.note(count(all.findings.len() as u64, "finding")),
    }
    if all.unscanned_files > 0 {
        out.note(format!("{} larger than 4 MiB were not looked into", count(all.unscanned_files, "file")));
    }
    Ok(())
}

/// Writes the history as a Git bundle.
pub(super) async fn export_git(api: &Api, out: &Out, workspace: &str, path: &Path, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let request = ExportGitRequest { workspace_id: workspace.id, revision_id, ..Default::default() };
    let mut stream = api.transfer.clone().export_git(request).await?.into_inner();
    if path == Path::new("-") {
        while let Some(part) = stream.message().await? {
            out.raw(&part.chunk)?;
        }
        return Ok(());
    }
    // First beside the target under another name: a broken connection leaves nothing that looks whole.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write in {}", parent.display());
    let (file, partial) = tempfile::Builder::new().prefix(".slipway-").tempfile_in(parent).with_context(failed)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0;
    while let Some(part) = stream.message().await? {
        size += part.chunk.len() as u64;
        file.write_all(&part.chunk).await?;
    }
    file.flush().await?;
    let taken = |e: tempfile::PathPersistError| anyhow::Error::from(e.error).context(format!("cannot write {}", path.display()));
    partial.persist_noclobber(path).map_err(taken)?;
    out.note(format!("wrote {} ({}); `git clone {}` makes a repository of it", path.display(), bytes(size), path.display()));
    Ok(())
}
