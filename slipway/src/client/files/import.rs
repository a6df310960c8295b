//! `slipway files import`: whatever it is, a workspace is made of it.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use slipway_proto::filestore::import_chart_request::Source as ChartSource;
use slipway_proto::filestore::import_git_request::Source as GitSource;
use slipway_proto::filestore::{
    ChartRepository, DeleteWorkspaceRequest, ImportChartRequest, ImportGitRequest, Revision, Workspace,
};
use uuid::Uuid;

use super::transfer::send_file;
use crate::args::Transfer;
use crate::client::workspace::{create, import as import_files};
use crate::client::{Api, required};
use crate::error::Failure;
use crate::output::{Out, bytes, count};

/// What the command line says.
struct Asked {
    message: String,
    reference: String,
    folder: String,
    commits: u32,
    chart: Option<String>,
    version: String,
}

/// Runs `slipway files import`.
pub(super) async fn import(api: &Api, out: &Out, command: Transfer) -> anyhow::Result<()> {
    let Transfer::Import { source, name, workspace, message, reference, folder, commits, chart, version } = command else {
        return Ok(());
    };
    let asked = Asked { message, reference, folder, commits, chart, version };
    let remote = source.contains("://");
    if !remote && !source.ends_with(".bundle") {
        let path = Path::new(&source);
        if !source.ends_with(".tar") {
            return import_files(api, out, path, name, workspace, asked.message).await;
        }
        let name = name.or_else(|| workspace.is_none().then(|| name_of(&source, &asked)));
        let packed = pack_tar(path)?;
        return import_files(api, out, packed.path(), name, workspace, asked.message).await;
    }
    let (target, made) = match workspace {
        Some(name) => (api.workspace(&name).await?, false),
        None => (create(api, name.unwrap_or_else(|| name_of(&source, &asked))).await?, true),
    };
    let id = target.id.clone();
    let imported = fetch(api, out, &source, target, asked).await;
    if imported.is_err() && made {
        // The workspace was made for this import alone; the error that matters is the import's.
        let _ = api.files.clone().delete_workspace(DeleteWorkspaceRequest { workspace_id: id }).await;
    }
    imported
}

async fn fetch(api: &Api, out: &Out, source: &str, workspace: Workspace, asked: Asked) -> anyhow::Result<()> {
    let request_id = Uuid::now_v7().to_string();
    let (workspace_id, base_revision_id) = (workspace.id.clone(), workspace.head_revision_id.clone());
    let oci = source.starts_with("oci://") || source.starts_with("oci+http://");
    if oci || asked.chart.is_some() {
        let source = match asked.chart {
            Some(chart) => ChartSource::Repository(ChartRepository { url: source.to_owned(), chart, version: asked.version }),
            None => ChartSource::Oci(source.to_owned()),
        };
        let message = asked.message;
        let request = ImportChartRequest { workspace_id, base_revision_id, message, request_id, source: Some(source) };
        let response = api.transfer.clone().import_chart(request).await?.into_inner();
        if out.json("filestore.v1.ImportChartResponse", &response)? {
            return Ok(());
        }
        say(out, &workspace, &required(response.revision, "revision")?)?;
        return out.line(out.paint.dim(format!("version {} {}", response.version, response.digest)));
    }
    let from = match source.strip_suffix(".bundle").filter(|_| !source.contains("://")) {
        Some(_) => GitSource::BundleHash(send_file(api, out, Path::new(source), None).await?),
        None => GitSource::Url(source.to_owned()),
    };
    let Asked { message, reference, folder, commits, .. } = asked;
    let request =
        ImportGitRequest { workspace_id, reference, folder, commits, base_revision_id, message, request_id, source: Some(from) };
    let response = api.transfer.clone().import_git(request).await?.into_inner();
    if out.json("filestore.v1.ImportGitResponse", &response)? {
        return Ok(());
    }
    for skipped in &response.skipped {
        out.note(format!("left out, since it is not a regular file: {skipped}"));
    }
    say(out, &workspace, &required(response.revision, "revision")?)?;
    out.line(out.paint.dim(format!("commit {}", response.commit_id)))
}

fn say(out: &Out, workspace: &Workspace, revision: &Revision) -> anyhow::Result<()> {
    let what = format!("{}, {}", count(revision.file_count, "file"), bytes(revision.total_bytes));
    out.line(format!("{} revision {} ({what})", out.paint.bold(&workspace.name), revision.number))?;
    out.line(out.paint.dim(format!("workspace {}", workspace.id)))
}

/// The last part of the source, without its ending, version or tag.
fn name_of(source: &str, asked: &Asked) -> String {
    if let Some(chart) = &asked.chart {
        return chart.clone();
    }
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or(source);
    let last = last.split(['@', '?', '#']).next().unwrap_or(last);
    let last = last.split(':').next().unwrap_or(last);
    let last = [".git", ".bundle", ".tar"].iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last);
    if last.is_empty() { "workspace".to_owned() } else { last.to_owned() }
}

/// A plain tar as the API takes it.
fn pack_tar(path: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let failed = || format!("cannot read {}", path.display());
    let mut source = std::fs::File::open(path).with_context(failed)?;
    let packed = tempfile::Builder::new().suffix(".tar.gz").tempfile()?;
    let mut target = GzEncoder::new(packed, Compression::fast());
    std::io::copy(&mut source, &mut target).with_context(failed)?;
    let mut packed = target.finish()?;
    packed.flush()?;
    if source.metadata()?.len() == 0 {
        return Err(Failure::usage(format!("{} is empty", path.display())).into());
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_called_like_its_source() {
        let asked = |chart: Option<&str>| Asked {
            message: String::new(),
            reference: String::new(),
            folder: String::new(),
            commits: 1,
            chart: chart.map(str::to_owned),
            version: String::new(),
        };
        for (source, name) in [
            ("https://github.com/owner/shop.git", "shop"),
            ("https://github.com/owner/shop/", "shop"),
            ("oci://ghcr.io/charts/shop:1.2.3", "shop"),
            ("oci://ghcr.io:443/charts/shop@sha256:aa", "shop"),
            ("dir/shop.bundle", "shop"),
            ("shop.tar", "shop"),
        ] {
            assert_eq!(name_of(source, &asked(None)), name, "{source}");
        }
        assert_eq!(name_of("https://charts.example.com/", &asked(Some("shop"))), "shop");
    }
}
