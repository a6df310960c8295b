//! The settings of the file store.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::model::MAX_FILE_BYTES;

const MINUTES_MAX: u64 = 525_600;

/// Settings of the file store, the section `[file_store]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The directory of the file contents; absent: `blobs` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs: Option<PathBuf>,
    /// The bucket of the file contents; absent: they lie in a local directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Settings>,
    /// A disk cache in front of the bucket.
    pub cache: CacheSettings,
    /// The removal of contents that no revision refers to.
    pub gc: GcSettings,
    /// Files that are not committed yet.
    pub overlays: OverlaySettings,
    /// Links to single files and uploads.
    pub links: LinkSettings,
    /// What is fetched from elsewhere.
    pub import: ImportSettings,
    /// Contents that come in several calls.
    pub uploads: UploadSettings,
    /// What becomes of a commit or import whose files hold what looks like a secret.
    pub secrets: SecretScan,
    /// How much may be kept.
    pub quotas: QuotaSettings,
    /// How many MiB of revisions' file lists are kept in memory; 0: none.
    pub manifest_cache_mib: u64,
    /// How many archives, and differences of large files, are worked on at once; the others wait.
    pub heavy_calls: usize,
}

/// Imports from the network, the section `[file_store.import]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportSettings {
    /// The hosts that may be called, such as `github.com` or `*.example.com`; none: all of the open internet.
    pub hosts: Vec<String>,
    /// Takes addresses of private networks, this machine's too.
    pub private_addresses: bool,
    /// Takes addresses that are not encrypted.
    pub http: bool,
    /// How long one request, or one step of Git, may take.
    pub timeout_seconds: u64,
    /// How many MiB may come.
    pub max_mib: u64,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self { hosts: Vec::new(), private_addresses: false, http: false, timeout_seconds: 300, max_mib: 1024 }
    }
}

impl ImportSettings {
    fn check(&self) -> Result<(), String> {
        if !(1..=3_600).contains(&self.timeout_seconds) {
            return Err("import.timeout_seconds must be between 1 and 3600".to_owned());
        }
        if !(1..=16_384).contains(&self.max_mib) {
            return Err("import.max_mib must be between 1 and 16384".to_owned());
        }
        Ok(())
    }
}

/// Links, the section `[file_store.links]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Where the gateway is reached by those who get links, such as `https://slipway.example.com`; empty: where the gateway of
    /// this process listens, if there is one.
    pub url: String,
    /// Whom downloads come from.
    pub via: LinkWay,
}

/// Whom downloads by link come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkWay {
    /// The bucket where there is one, else the gateway.
    #[default]
    Auto,
    /// The gateway.
    Gateway,
}

impl LinkSettings {
    fn check(&self) -> Result<(), String> {
        let good = self.url.starts_with("https://") || self.url.starts_with("http://");
        if good || self.url.is_empty() { Ok(()) } else { Err("links.url must start with https:// or http://".to_owned()) }
    }
}

/// Uploads, the section `[file_store.uploads]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UploadSettings {
    /// An upload that nobody touches for so long is removed.
    pub expire_hours: u64,
    /// How many uploads a project may have at once, finished or not.
    pub max_open: u64,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self { expire_hours: 24, max_open: 100 }
    }
}

impl UploadSettings {
    pub(crate) fn expire(&self) -> Duration {
        Duration::from_secs(3_600 * self.expire_hours)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=8_760).contains(&self.expire_hours) {
            return Err("uploads.expire_hours must be between 1 and 8760".to_owned());
        }
        if !(1..=100_000).contains(&self.max_open) {
            return Err("uploads.max_open must be between 1 and 100000".to_owned());
        }
        Ok(())
    }
}

/// What becomes of secrets in new revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretScan {
    /// They are found and can be listed.
    #[default]
    Report,
    /// A revision that brings one does not land.
    Refuse,
    /// Nobody looks.
    Off,
}

/// A disk cache of file contents in the data directory, the section `[file_store.cache]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// How large it may get, in MiB; 0: there is none.
    pub mib: u64,
    /// Contents that nobody used for so long leave it; they come back with the next read.
    pub idle_days: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { mib: 0, idle_days: 30 }
    }
}

impl CacheSettings {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(86_400 * self.idle_days)
    }

    fn check(&self) -> Result<(), String> {
        if self.mib > 1 << 24 {
            return Err("cache.mib must be at most 16777216".to_owned());
        }
        if !(1..=3_650).contains(&self.idle_days) {
            return Err("cache.idle_days must be between 1 and 3650".to_owned());
        }
        Ok(())
    }
}

/// Garbage collection, the section `[file_store.gc]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcSettings {
    /// How often contents without a reference are looked for; 0: only when somebody asks.
    pub interval_minutes: u64,
    /// How long a content must have been there before it is marked, and marked before it is removed.
    pub grace_minutes: u64,
}

impl Default for GcSettings {
    fn default() -> Self {
        Self { interval_minutes: 60, grace_minutes: 1440 }
    }
}

impl GcSettings {
    /// How often to collect; zero: never.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(60 * self.interval_minutes)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(60 * self.grace_minutes)
    }

    fn check(&self) -> Result<(), String> {
        for (key, value) in [("interval_minutes", self.interval_minutes), ("grace_minutes", self.grace_minutes)] {
            if value > MINUTES_MAX {
                return Err(format!("gc.{key} must be at most {MINUTES_MAX}, which is a year"));
            }
        }
        Ok(())
    }
}

/// Overlays, the section `[file_store.overlays]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverlaySettings {
    /// An overlay that nobody changes for so long goes, and with it what is not committed.
    pub idle_hours: u64,
    /// How many overlays a workspace may have.
    pub max_of_workspace: u64,
    /// How many overlays the workspaces of a project may have together.
    pub max_of_project: u64,
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self { idle_hours: 14 * 24, max_of_workspace: 200, max_of_project: 2_000 }
    }
}

impl OverlaySettings {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(3_600 * self.idle_hours)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=87_600).contains(&self.idle_hours) {
            return Err("overlays.idle_hours must be between 1 and 87600, which is ten years".to_owned());
        }
        for (key, value) in [("max_of_workspace", self.max_of_workspace), ("max_of_project", self.max_of_project)] {
            if !(1..=1_000_000).contains(&value) {
                return Err(format!("overlays.{key} must be between 1 and 1000000"));
            }
        }
        Ok(())
    }
}

/// How much may be kept, the section `[file_store.quotas]`. What is counted of a workspace is what its revisions brought: of each
/// one the contents that the one before does not have. Deleting files gives nothing back, since older revisions have them;
/// deleting the workspace does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSettings {
    /// The size of a file, in MiB.
    pub file_mib: u64,
    /// What a workspace may have, in MiB.
    pub workspace_mib: u64,
    /// What the workspaces of a project may have together, in MiB.
    pub project_mib: u64,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { file_mib: MAX_FILE_BYTES >> 20, workspace_mib: 10 << 10, project_mib: 100 << 10 }
    }
}

impl QuotaSettings {
    fn check(&self) -> Result<(), String> {
        let most = MAX_FILE_BYTES >> 20;
        if !(1..=most).contains(&self.file_mib) {
            return Err(format!("quotas.file_mib must be between 1 and {most}"));
        }
        for (key, value) in [("workspace_mib", self.workspace_mib), ("project_mib", self.project_mib)] {
            if !(1..=1 << 40).contains(&value) {
                return Err(format!("quotas.{key} must be between 1 and {}", 1_u64 << 40));
            }
        }
        Ok(())
    }
}

/// An S3 bucket, the section `[file_store.s3]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    /// Its name. Required.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The server's URL, for servers other than Amazon's; empty: Amazon's.
    pub endpoint: String,
    /// What the names of all objects begin with; empty: nothing.
    pub prefix: String,
    /// The key's id; empty: what the `AWS_*` variables, a web identity or the machine's metadata say.
    pub access_key_id: String,
    /// The key's secret.
    #[serde(skip_serializing)]
    pub secret_access_key: SecretString,
    /// Takes an endpoint that is not encrypted.
    pub allow_http: bool,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: "us-east-1".to_owned(),
            endpoint: String::new(),
            prefix: String::new(),
            access_key_id: String::new(),
            secret_access_key: SecretString::default(),
            allow_http: false,
        }
    }
}

impl S3Settings {
    fn check(&self) -> Result<(), String> {
        if self.bucket.is_empty() {
            return Err("s3.bucket must name a bucket".to_owned());
        }
        if self.region.is_empty() {
            return Err("s3.region must name a region".to_owned());
        }
        let (http, https) = (self.endpoint.starts_with("http://"), self.endpoint.starts_with("https://"));
        if !self.endpoint.is_empty() && !http && !https {
            return Err("s3.endpoint must start with https:// or http://".to_owned());
        }
        if http && !self.allow_http {
            return Err("s3.endpoint is not encrypted; use https:// or set s3.allow_http".to_owned());
        }
        if self.access_key_id.is_empty() != self.secret_access_key.expose_secret().is_empty() {
            return Err("s3.access_key_id and s3.secret_access_key must be given together".to_owned());
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            blobs: None,
            s3: None,
            cache: CacheSettings::default(),
            gc: GcSettings::default(),
            overlays: OverlaySettings::default(),
            links: LinkSettings::default(),
            import: ImportSettings::default(),
            uploads: UploadSettings::default(),
            secrets: SecretScan::default(),
            quotas: QuotaSettings::default(),
            manifest_cache_mib: 64,
            heavy_calls: 4,
        }
    }
}

impl Settings {
    /// Names the first key whose value cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.blobs.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err("blobs must name a directory, or be left out".to_owned());
        }
        self.gc.check()?;
        self.cache.check()?;
        self.overlays.check()?;
        self.links.check()?;
        self.import.check()?;
        self.uploads.check()?;
        self.quotas.check()?;
        if self.cache.mib > 0 && self.s3.is_none() {
            return Err("cache.mib is for contents in a bucket; set s3, or leave it at 0".to_owned());
        }
        if let Some(s3) = &self.s3 {
            s3.check()?;
            if self.blobs.is_some() {
                return Err("blobs and s3 exclude each other; leave one of them out".to_owned());
            }
        }
        if self.manifest_cache_mib > 65_536 {
            return Err("manifest_cache_mib must be between 0 and 65536".to_owned());
        }
        if !(1..=256).contains(&self.heavy_calls) {
            return Err("heavy_calls must be between 1 and 256".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        let bad = Settings { heavy_calls: 0, ..Settings::default() };
        assert!(bad.check().unwrap_err().contains("heavy_calls"));
        let bad: Settings = serde_json::from_str(r#"{"overlays": {"idle_hours": 0}}"#).unwrap();
        assert!(bad.check().unwrap_err().contains("overlays.idle_hours"));
        let bad: Settings = serde_json::from_str(r#"{"overlays": {"max_of_project": 0}}"#).unwrap();
        assert!(bad.check().unwrap_err().contains("overlays.max_of_project"));
        let bad: Settings = serde_json::from_str(r#"{"quotas": {"project_mib": 0}}"#).unwrap();
        assert!(bad.check().unwrap_err().contains("quotas.project_mib"));
        let bad = Settings { manifest_cache_mib: 65_537, ..Settings::default() };
        assert!(bad.check().unwrap_err().contains("manifest_cache_mib"));
        assert!(serde_json::from_str::<Settings>(r#"{"unknown": 1}"#).is_err());
    }

    #[test]
    fn buckets_are_checked() {
        let check = |text: &str| serde_json::from_str::<Settings>(text).unwrap().check();
        assert_eq!(check(r#"{"s3": {"bucket": "b"}}"#), Ok(()));
        let http = r#"{"s3": {"bucket": "b", "endpoint": "http://s3:9000", "allow_http": true}}"#;
        assert_eq!(check(http), Ok(()));
        for (text, key) in [
            (r#"{"s3": {}}"#, "s3.bucket"),
            (r#"{"s3": {"bucket": "b", "region": ""}}"#, "s3.region"),
            (r#"{"s3": {"bucket": "b", "endpoint": "s3:9000"}}"#, "s3.endpoint"),
            (r#"{"s3": {"bucket": "b", "endpoint": "http://s3:9000"}}"#, "s3.allow_http"),
            (r#"{"s3": {"bucket": "b", "access_key_id": "a"}}"#, "s3.secret_access_key"),
            (r#"{"cache": {"mib": 1}}"#, "cache.mib"),
            (r#"{"import": {"timeout_seconds": 0}}"#, "import.timeout_seconds"),
            (r#"{"import": {"max_mib": 0}}"#, "import.max_mib"),
            (r#"{"links": {"url": "gateway"}}"#, "links.url"),
            (r#"{"uploads": {"expire_hours": 0}}"#, "uploads.expire_hours"),
            (r#"{"uploads": {"max_open": 0}}"#, "uploads.max_open"),
            (r#"{"cache": {"idle_days": 0}}"#, "cache.idle_days"),
            (r#"{"blobs": "/blobs", "s3": {"bucket": "b"}}"#, "blobs and s3"),
        ] {
            assert!(check(text).unwrap_err().contains(key), "{text}");
        }
        assert!(check(r#"{"gc": {"grace_minutes": 525601}}"#).unwrap_err().contains("gc.grace_minutes"));
        let secret = serde_json::from_str::<Settings>(r#"{"s3": {"bucket": "b", "secret_access_key": "hidden"}}"#).unwrap();
        assert!(!format!("{secret:?}{}", serde_json::to_string(&secret).unwrap()).contains("hidden"));
    }
}
