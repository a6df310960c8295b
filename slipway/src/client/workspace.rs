//! `slipway workspace …`

use std::path::Path;

use anyhow::Context as _;
use slipway_proto::filestore::read_file_response::Part;
use slipway_proto::filestore::{
    ArchiveFormat, CollectGarbageRequest, CreateDownloadLinkRequest, CreateWorkspaceRequest, DeleteWorkspaceRequest,
    DeleteWorkspaceResponse, DiffRevisionsResponse, ExportArchiveRequest, FileEntry, ImportArchiveHeader, ImportArchiveResponse,
    ListFilesRequest, ListFilesResponse, ListRevisionsResponse, ListWorkspacesResponse, ReadFileRequest, RestoreRevisionRequest,
    Revision, RevisionKind, SearchFilesRequest, Workspace,
};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::archive::{format_of, name_of, unpack};
use super::{Api, Rev, diff_all, pack, required, send_archive};
use crate::args::Workspace as Command;
use crate::error::Failure;
use crate::output::{Out, Table, bytes, count, time, unified};

/// Runs one of the workspace commands.
pub(crate) async fn workspace(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { name } => show(out, &create(api, name).await?),
        Command::Import { path, name, workspace, message } => import(api, out, &path, name, workspace, message).await,
        Command::Export { workspace, path, revision } => export(api, out, &workspace, &path, Rev::of(&revision)).await,
        Command::List => list(api, out).await,
        Command::Show { workspace } => show(out, &api.workspace(&workspace).await?),
        Command::Delete { workspace, yes: _ } => delete(api, out, &workspace).await,
        Command::Files { workspace, revision, glob } => files(api, out, &workspace, Rev::of(&revision), glob).await,
        Command::Cat { workspace, path, revision } => cat(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::Link { workspace, path, revision, ttl } => link(api, out, &workspace, path, Rev::of(&revision), ttl).await,
        Command::Gc => collect(api, out).await,
        Command::Grep { workspace, pattern, regex, ignore_case, glob, revision, limit } => {
            let request = SearchFilesRequest { pattern, regex, ignore_case, glob, limit, ..Default::default() };
            grep(api, out, &workspace, Rev::of(&revision), request).await
        }
        Command::Log { workspace } => log(api, out, &workspace).await,
        Command::Diff { workspace, from, to, context } => diff(api, out, &workspace, from, to, context).await,
        Command::Restore { workspace, revision } => restore(api, out, &workspace, &revision).await,
    }
}

pub(super) async fn create(api: &Api, name: String) -> anyhow::Result<Workspace> {
    let request = CreateWorkspaceRequest { name, request_id: Uuid::now_v7().to_string() };
    required(api.files.clone().create_workspace(request).await?.into_inner().workspace, "workspace")
}

pub(super) async fn import(
    api: &Api,
    out: &Out,
    path: &Path,
    name: Option<String>,
    into: Option<String>,
    message: String,
) -> anyhow::Result<()> {
    let (archive, format) = if path.is_dir() {
        let dir = path.to_owned();
        let packed = tokio::task::spawn_blocking(move || pack(&dir)).await??;
        for left_out in &packed.skipped {
            out.note(format!("left out, since it is not a regular file: {left_out}"));
        }
        (packed.bytes, ArchiveFormat::TarGz)
    } else {
        let bytes = tokio::fs::read(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = || Failure::usage(format!("{} is neither a directory nor named .tar.gz, .tgz or .zip", path.display()));
        (bytes.into(), format_of(path).ok_or_else(wrong)?)
    };
    let (workspace, made) = match into {
        Some(name) => (api.workspace(&name).await?, false),
        None => (create(api, name.map_or_else(|| name_of(path), Ok)?).await?, true),
    };
    let header = ImportArchiveHeader {
        workspace_id: workspace.id.clone(),
        format: format.into(),
        base_revision_id: workspace.head_revision_id.clone(),
        message,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let revision = match send_archive(api, header, archive).await {
        Ok(revision) => revision,
        Err(error) => {
            if made {
                // The workspace was made for this import alone; the error that matters is the import's.
                let _ = api.files.clone().delete_workspace(DeleteWorkspaceRequest { workspace_id: workspace.id }).await;
            }
            return Err(error);
        }
    };
    if out.json("filestore.v1.ImportArchiveResponse", &ImportArchiveResponse { revision: Some(revision.clone()) })? {
        return Ok(());
    }
    let what = format!("{}, {}", count(revision.file_count, "file"), bytes(revision.total_bytes));
    out.line(format!("{} revision {} ({what})", out.paint.bold(&workspace.name), revision.number))?;
    out.line(out.paint.dim(format!("workspace {}", workspace.id)))
}

pub(super) async fn export(api: &Api, out: &Out, name: &str, path: &Path, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let format = format_of(path).unwrap_or(ArchiveFormat::TarGz);
    let request = ExportArchiveRequest { workspace_id: workspace.id, revision_id, format: format.into(), ..Default::default() };
    let mut stream = api.files.clone().export_archive(request).await?.into_inner();
    if path == Path::new("-") {
        while let Some(part) = stream.message().await? {
            out.raw(&part.chunk)?;
        }
        return Ok(());
    }
    // First beside the target under another name: a broken connection leaves nothing that looks whole.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (file, partial) = tempfile::Builder::new()
        .prefix(".slipway-")
        .tempfile_in(parent)
        .with_context(|| format!("cannot write in {}", parent.display()))?
        .into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0;
    while let Some(part) = stream.message().await? {
        size += part.chunk.len() as u64;
        file.write_all(&part.chunk).await?;
    }
    file.flush().await?;
    if format_of(path).is_some() {
        partial.persist_noclobber(path).map_err(|e| {
            if e.error.kind() == std::io::ErrorKind::AlreadyExists {
                return Failure::usage(format!("{} is there already; name a new file", path.display())).into();
            }
            anyhow::Error::from(e.error).context(format!("cannot write {}", path.display()))
        })?;
        out.note(format!("wrote {} ({})", path.display(), bytes(size)));
    } else {
        let (archive, dir) = (std::fs::File::open(&partial)?, path.to_owned());
        let files = tokio::task::spawn_blocking(move || unpack(archive, &dir)).await??;
        out.note(format!("wrote {} into {}", count(files, "file"), path.display()));
    }
    Ok(())
}

async fn list(api: &Api, out: &Out) -> anyhow::Result<()> {
    let response = ListWorkspacesResponse { workspaces: api.workspaces().await?, next_page_token: String::new() };
    if out.json("filestore.v1.ListWorkspacesResponse", &response)? {
        return Ok(());
    }
    if response.workspaces.is_empty() {
        out.note("there are no workspaces yet; `slipway workspace import DIR` makes one");
        return Ok(());
    }
    let mut table = Table::plain(&["name", "head", "changed (UTC)", "id"], out.paint);
    for w in &response.workspaces {
        table.row([w.name.clone(), w.head_number.to_string(), time(w.update_time.as_ref()), w.id.clone()]);
    }
    out.line(table.text())
}

fn show(out: &Out, workspace: &Workspace) -> anyhow::Result<()> {
    if out.json("filestore.v1.Workspace", workspace)? {
        return Ok(());
    }
    out.line(out.paint.bold(&workspace.name))?;
    out.line(format!("id       {}", workspace.id))?;
    out.line(match workspace.head_number {
        0 => "head     none yet".to_owned(),
        n => format!("head     revision {n}  {}", out.paint.dim(&workspace.head_revision_id)),
    })?;
    out.line(format!("created  {} UTC", time(workspace.create_time.as_ref())))?;
    out.line(format!("changed  {} UTC", time(workspace.update_time.as_ref())))
}

async fn delete(api: &Api, out: &Out, name: &str) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    api.files.clone().delete_workspace(DeleteWorkspaceRequest { workspace_id: workspace.id }).await?;
    if out.json("filestore.v1.DeleteWorkspaceResponse", &DeleteWorkspaceResponse {})? {
        return Ok(());
    }
    out.line(format!("{} is gone", out.paint.bold(&workspace.name)))
}

async fn files(api: &Api, out: &Out, name: &str, rev: Rev<'_>, glob: String) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let mut revision_id = api.revision_id(&workspace, rev).await?;
    let (mut files, mut page_token) = (Vec::<FileEntry>::new(), String::new());
    loop {
        let request = ListFilesRequest {
            workspace_id: workspace.id.clone(),
            revision_id: revision_id.clone(),
            glob: glob.clone(),
            page_token,
            ..Default::default()
        };
        let page = api.files.clone().list_files(request).await?.into_inner();
        files.extend(page.files);
        // Later pages are of the same revision, even if the head moves.
        (revision_id, page_token) = (page.revision_id, page.next_page_token);
        if page_token.is_empty() {
            break;
        }
    }
    let response = ListFilesResponse { files, revision_id, next_page_token: String::new() };
    if out.json("filestore.v1.ListFilesResponse", &response)? {
        return Ok(());
    }
    for file in &response.files {
        let size = format!("{:>10}", bytes(file.size));
        let mark = if file.executable { "*" } else { "" };
        out.line(format!("{}  {}{mark}", out.paint.dim(size), file.path))?;
    }
    Ok(())
}

async fn cat(api: &Api, out: &Out, name: &str, path: String, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let request = ReadFileRequest { workspace_id: workspace.id, revision_id, path, ..Default::default() };
    let mut stream = api.files.clone().read_file(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        if out.json("filestore.v1.ReadFileResponse", &response)? {
            continue;
        }
        if let Some(Part::Chunk(chunk)) = response.part {
            out.raw(&chunk)?;
        }
    }
    Ok(())
}

async fn link(api: &Api, out: &Out, name: &str, path: String, rev: Rev<'_>, ttl_seconds: u32) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let request = CreateDownloadLinkRequest { workspace_id: workspace.id, revision_id, path, ttl_seconds };
    let response = api.files.clone().create_download_link(request).await?.into_inner();
    if out.json("filestore.v1.CreateDownloadLinkResponse", &response)? {
        return Ok(());
    }
    out.note(format!("good until {} UTC, for whoever has it", time(response.expire_time.as_ref())));
    out.line(&response.url)
}

async fn collect(api: &Api, out: &Out) -> anyhow::Result<()> {
    let response = api.files.clone().collect_garbage(CollectGarbageRequest {}).await?.into_inner();
    if out.json("filestore.v1.CollectGarbageResponse", &response)? {
        return Ok(());
    }
    let did = required(response.collection, "collection")?;
    out.line(format!("{} looked at, {}", count(did.blobs, "content"), bytes(did.bytes)))?;
    out.line(format!("{} newly found unused, {} used again", did.marked, did.absolved))?;
    out.line(format!("{} removed, {}; {} of broken writes", did.removed, bytes(did.removed_bytes), count(did.remains, "remain")))
}

async fn grep(api: &Api, out: &Out, name: &str, rev: Rev<'_>, mut request: SearchFilesRequest) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    request.revision_id = api.revision_id(&workspace, rev).await?;
    request.workspace_id = workspace.id;
    let response = api.files.clone().search_files(request).await?.into_inner();
    if out.json("filestore.v1.SearchFilesResponse", &response)? {
        return Ok(());
    }
    for found in &response.matches {
        out.line(format!("{}: {}", out.paint.cyan(format!("{}:{}", found.path, found.line)), found.text))?;
    }
    if response.truncated {
        out.note("there is more; raise --limit");
    }
    if response.matches.is_empty() {
        out.note("no line matches");
    }
    Ok(())
}

async fn log(api: &Api, out: &Out, name: &str) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let response = ListRevisionsResponse { revisions: api.revisions(&workspace).await?, next_page_token: String::new() };
    if out.json("filestore.v1.ListRevisionsResponse", &response)? {
        return Ok(());
    }
    let mut table = Table::plain(&["rev", "kind", "message", "files", "made (UTC)", "hash"], out.paint);
    for r in &response.revisions {
        let hash = r.hash.chars().take(12).collect();
        let message = r.message.lines().next().unwrap_or_default().to_owned();
        table.row([
            r.number.to_string(),
            kind(r).to_owned(),
            message,
            r.file_count.to_string(),
            time(r.create_time.as_ref()),
            hash,
        ]);
    }
    out.line(table.text())
}

fn kind(revision: &Revision) -> &'static str {
    match revision.kind() {
        RevisionKind::Unspecified => "unknown",
        RevisionKind::Import => "import",
        RevisionKind::Commit => "commit",
        RevisionKind::Restore => "restore",
    }
}

async fn diff(api: &Api, out: &Out, name: &str, from: Option<String>, to: Option<String>, context: u32) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let newer = api.revision(&workspace, Rev::of(&to)).await?;
    let older = match &from {
        Some(text) => api.revision(&workspace, Rev::Named(text)).await?.id,
        None if newer.parent_id.is_empty() => {
            return Err(Failure::usage(format!("revision {} has none before it to compare with", newer.number)).into());
        }
        None => newer.parent_id.clone(),
    };
    let files = diff_all(api, &workspace.id, &older, &newer.id, context).await?;
    if out.json("filestore.v1.DiffRevisionsResponse", &DiffRevisionsResponse { files: files.clone(), ..Default::default() })? {
        return Ok(());
    }
    if files.is_empty() {
        out.note("the revisions have the same files");
    }
    out.raw(unified(&files, out.paint).as_bytes())
}

async fn restore(api: &Api, out: &Out, name: &str, revision: &str) -> anyhow::Result<()> {
    let workspace = api.workspace(name).await?;
    let older = api.revision(&workspace, Rev::Named(revision)).await?;
    let request = RestoreRevisionRequest {
        workspace_id: workspace.id.clone(),
        revision_id: older.id,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let response = api.files.clone().restore_revision(request).await?.into_inner();
    if out.json("filestore.v1.RestoreRevisionResponse", &response)? {
        return Ok(());
    }
    let made = required(response.revision, "revision")?;
    out.line(format!("{} revision {} has the files of revision {}", out.paint.bold(&workspace.name), made.number, older.number))
}
