//! The data directory: the services' databases, the key that they share, and the lock that keeps it to one process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use slipway_rpc::IdentityKey;
use slipway_storage::StoreSettings;

use crate::args::Service;
use crate::error::{Exit, Failure};
use crate::settings::{Settings, Store};

const KEY_FILE: &str = "identity.key";

/// The directory; made, for its owner alone, when something is to be kept in it.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// Holds one service's data for this process; the end of the process lets go of it, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl DataDir {
    /// The directory of the settings.
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let path = match (settings.data_dir.strip_prefix("~/"), dirs::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            (Some(_), None) => {
                return Err(
                    Failure::usage("data_dir starts with ~/, and there is no home directory; set it to a full path").into()
                );
            }
            (None, _) => std::path::absolute(&settings.data_dir)?,
        };
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn make(&self) -> anyhow::Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.with_context(|| format!("data_dir {} cannot be made", self.path.display()))
    }

    /// Takes a service's data for this process.
    fn lock(&self, service: Service) -> anyhow::Result<Lock> {
        self.make()?;
        let path = self.path.join(format!("{}.lock", service.name()));
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.with_context(|| format!("cannot write in data_dir {}", self.path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let dir = self.path.display();
                let text = format!(
                    "another slipway uses the {} data in {dir}; stop it, or set data_dir to another directory",
                    service.name()
                );
                Err(Failure::new(Exit::Refused, text).into())
            }
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Where a service keeps its rows.
    pub(crate) fn store(&self, settings: &Settings, service: Service) -> StoreSettings {
        let Store { url, durability, migrate, connections } = settings.store.clone();
        if !url.is_empty() {
            return StoreSettings { url, durability, migrate, connections, ..StoreSettings::default() };
        }
        let file = self.path.join(format!("{}.db", service.name())).display().to_string();
        let url = format!("sqlite://{}", file.replace('%', "%25").replace('?', "%3F"));
        StoreSettings { url, durability, migrate, connections, ..StoreSettings::default() }
    }

    /// Takes a service's data for this process, where it is kept in this directory: replicas share what PostgreSQL keeps.
    pub(crate) fn lock_store(&self, settings: &Settings, service: Service) -> anyhow::Result<Option<Lock>> {
        if settings.store.url.is_empty() { self.lock(service).map(Some) } else { Ok(None) }
    }

    /// The key of the settings, or the one in this directory, which is made when it is missing.
    pub(crate) fn identity_key(&self, settings: &Settings) -> anyhow::Result<IdentityKey> {
        let key = &settings.identity.key;
        let key = if key.expose_secret().is_empty() { self.kept_key()? } else { key.clone() };
        Ok(IdentityKey::new(&key)?)
    }

    fn kept_key(&self) -> anyhow::Result<SecretString> {
        self.make()?;
        let path = self.path.join(KEY_FILE);
        if !path.exists() {
            // Whole or not at all: several processes may start at once, and all must read the same key.
            let mut file = tempfile::NamedTempFile::new_in(&self.path)
                .with_context(|| format!("cannot write in {}", self.path.display()))?;
            file.write_all(IdentityKey::generate().expose_secret().as_bytes())?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(&path) {
                Ok(_) => {}
                Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.error).with_context(|| format!("cannot write {}", path.display())),
            }
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(SecretString::from(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory(dir: &tempfile::TempDir) -> (DataDir, Settings) {
        let settings = Settings { data_dir: dir.path().join("a/b").display().to_string(), ..Settings::default() };
        (DataDir::new(&settings).unwrap(), settings)
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (data, settings) = directory(&dir);
        data.identity_key(&settings).unwrap();
        let path = data.path().join(KEY_FILE);
        let first = std::fs::read_to_string(&path).unwrap();
        data.identity_key(&settings).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_key_in_the_settings_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (data, mut settings) = directory(&dir);
        settings.identity.key = SecretString::from("0123456789abcdef0123456789abcdef".to_owned());
        data.identity_key(&settings).unwrap();
        assert!(!data.path().exists());
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let (data, _) = directory(&dir);
        let lock = data.lock(Service::Planner).unwrap();
        let refusal = data.lock(Service::Planner).unwrap_err().to_string();
        assert!(refusal.contains("planner") && refusal.contains("data_dir"), "{refusal}");
        assert!(data.lock(Service::Embedding).is_ok());
        drop(lock);
        assert!(data.lock(Service::Planner).is_ok());
    }

    #[test]
    fn a_database_per_service_or_one_postgres() {
        let (data, mut settings) = (DataDir { path: "/data".into() }, Settings::default());
        assert_eq!(data.store(&settings, Service::FileStore).url, "sqlite:///data/file-store.db");
        assert!(data.store(&settings, Service::FileStore).migrate);
        settings.store.url = "postgres://db/slipway".into();
        assert!(data.lock_store(&settings, Service::FileStore).unwrap().is_none(), "replicas share it");
        assert_eq!(data.store(&settings, Service::FileStore).url, "postgres://db/slipway");
    }
}
