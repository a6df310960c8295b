//! The use case of importing a Helm chart: by name and version from a chart repository, or from an OCI registry.
//!
//! Whatever says what is to come, an index or a manifest, says its checksum, and nothing else is unpacked. What comes is an
//! archive like any other from there on. The registry's protocol is a few requests, spoken here rather than by a library, so
//! that they go through the one client that looks at every address.

use std::fmt::Write as _;
use std::io::Seek as _;

use blake3::Hasher;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use super::archives::{Import, Upload};
use crate::archive::{Format, MAX_ARCHIVE_BYTES};
use crate::error::Error;
use crate::fetch::{FetchError, Fetched, Fetcher};
use crate::model::{ChartIndex, OciReference, Revision};
use crate::store::RequestKey;

/// The most bytes of an index, of a manifest, and of a token's answer.
const MAX_INDEX: usize = 32 << 20;
const MAX_MANIFEST: usize = 4 << 20;
const MAX_TOKEN: usize = 64 << 10;
/// The layer of a chart, as Helm writes it, and as other tools may.
const CHART_LAYERS: [&str; 2] = ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip"];
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Where a chart is.
#[derive(Clone, Debug)]
pub(crate) enum ChartFrom {
    Repository { url: String, chart: String, version: String },
    Oci(OciReference),
}

/// A chart to import.
#[derive(Debug)]
pub(crate) struct ChartImport {
    pub(crate) workspace_id: Uuid,
    pub(crate) from: ChartFrom,
    pub(crate) base: Option<Uuid>,
    pub(crate) message: String,
    pub(crate) key: RequestKey,
}

/// What came of an import.
#[derive(Debug)]
pub(crate) struct ChartImported {
    pub(crate) revision: Revision,
    pub(crate) version: String,
    /// The archive's, as `sha256:` and hex.
    pub(crate) digest: String,
}

/// What a registry says an artifact is made of.
#[derive(Deserialize)]
struct OciManifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl FileStore {
    /// Replaces the files of a workspace by those of a chart.
    pub(crate) async fn import_chart(&self, ctx: &Ctx, import: ChartImport) -> Result<ChartImported, Error> {
        let upload = self.start_upload(ctx, import.workspace_id).await?;
        let fetcher = Fetcher::new(&self.import, self.spool.clone())?;
        let (fetched, version) = match &import.from {
            ChartFrom::Repository { url, chart, version } => from_repository(&fetcher, url, chart, version).await?,
            ChartFrom::Oci(reference) => (from_registry(&fetcher, reference).await?, reference.version.clone()),
        };
        let digest = digest_of(&fetched.sha256);
        let upload = upload.replace(fetched.file).await?;
        let ChartImport { workspace_id, base, message, key, .. } = import;
        let message = if message.is_empty() { format!("import chart {version}").trim_end().to_owned() } else { message };
        let import = Import { workspace_id, format: Format::TarGz, base, message, content: None, key };
        let revision = self.import(ctx, import, upload).await?;
        Ok(ChartImported { revision, version, digest })
    }
}

impl Upload {
    /// Takes what lies in a file.
    async fn replace(self, mut file: std::fs::File) -> Result<Self, Error> {
        let sum = move || {
            file.rewind()?;
            let mut hasher = Hasher::new();
            hasher.update_reader(&file)?;
            let size = file.stream_position()?;
            Ok::<_, std::io::Error>((file, hasher, size))
        };
        let (file, hasher, size) = tokio::task::spawn_blocking(sum).await??;
        if size > MAX_ARCHIVE_BYTES {
            return Err(Error::UploadTooLarge);
        }
        Ok(self.with(file, hasher, size))
    }
}

async fn from_repository(fetcher: &Fetcher, repository: &str, chart: &str, version: &str) -> Result<(Fetched, String), Error> {
    // A chart's address is one below the repository's.
    let base = fetcher.guard.check(&format!("{}/", repository.trim_end_matches('/')))?;
    let index = base.join("index.yaml").map_err(|_| refused("the repository's address is not one"))?;
    let answer = fetcher.ask(&index, "application/yaml, */*", None).await?;
    let text = fetcher.text(answer, MAX_INDEX).await?;
    let (name, wanted) = (chart.to_owned(), version.to_owned());
    let find = move || ChartIndex::find(&String::from_utf8_lossy(&text), &name, &wanted);
    let found = tokio::task::spawn_blocking(find).await?.map_err(|why| refused(&why))?;
    let url = base.join(&found.url).map_err(|_| refused("the index has an address that is not one"))?;
    let fetched = fetcher.file(fetcher.ask(&url, "*/*", None).await?).await?;
    let digest = digest_of(&fetched.sha256);
    let wanted = found.digest.trim_start_matches("sha256:");
    if digest != format!("sha256:{}", wanted.to_ascii_lowercase()) {
        return Err(Error::ImportCorrupt { digest });
    }
    Ok((fetched, found.version))
}

async fn from_registry(fetcher: &Fetcher, reference: &OciReference) -> Result<Fetched, Error> {
    let scheme = if reference.plain { "http" } else { "https" };
    let base = format!("{scheme}://{}/v2/{}", reference.registry, reference.repository);
    let url = fetcher.guard.check(&format!("{base}/manifests/{}", reference.target()))?;
    let mut token = None;
    let answer = ask(fetcher, &url, MANIFESTS, reference, &mut token).await?;
    let bytes = fetcher.text(answer, MAX_MANIFEST).await?;
    if let Some(digest) = &reference.digest {
        let came = digest_of(&Sha256::digest(&bytes).into());
        if came != *digest {
            return Err(Error::ImportCorrupt { digest: came });
        }
    }
    let manifest: OciManifest = serde_json::from_slice(&bytes).map_err(|_| refused("the registry's manifest cannot be read"))?;
    let layer = manifest.layers.into_iter().find(|layer| CHART_LAYERS.contains(&layer.media_type.as_str()));
    let layer = layer.ok_or_else(|| refused("the artifact has no layer that is a Helm chart"))?;
    if !OciReference::is_digest(&layer.digest) {
        return Err(refused("the layer's digest is not one of SHA-256"));
    }
    let url = fetcher.guard.check(&format!("{base}/blobs/{}", layer.digest))?;
    let answer = ask(fetcher, &url, "*/*", reference, &mut token).await?;
    let fetched = fetcher.file(answer).await?;
    let digest = digest_of(&fetched.sha256);
    if digest == layer.digest { Ok(fetched) } else { Err(Error::ImportCorrupt { digest }) }
}

/// Asks, and asks again with a token when the registry wants one: anybody gets one that may read what is public.
async fn ask(
    fetcher: &Fetcher,
    url: &Url,
    accept: &str,
    reference: &OciReference,
    token: &mut Option<String>,
) -> Result<Response, Error> {
    let answer = fetcher.ask(url, accept, token.as_deref()).await?;
    if answer.status() != StatusCode::UNAUTHORIZED || token.is_some() {
        return Ok(answer);
    }
    let challenge = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let realm =
        reference.token_url(challenge).ok_or_else(|| refused("the registry wants to know who asks, and takes no guests"))?;
    let realm = fetcher.guard.check(&realm)?;
    let bytes = fetcher.text(fetcher.ask(&realm, "application/json", None).await?, MAX_TOKEN).await?;
    let answer: Token = serde_json::from_slice(&bytes).map_err(|_| refused("the registry's token cannot be read"))?;
    *token = Some(answer.token);
    Ok(fetcher.ask(url, accept, token.as_deref()).await?)
}

fn refused(why: &str) -> Error {
    Error::Fetch(FetchError::Refused(why.to_owned()))
}

fn digest_of(sha256: &[u8; 32]) -> String {
    let mut digest = "sha256:".to_owned();
    for byte in sha256 {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}
