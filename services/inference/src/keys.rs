//! The keys that projects bring along: kept encrypted, and made into clients when calls need them.
//!
//! A project that has keys for a provider calls it with these and no others. What was opened is remembered for a while; a
//! change on another replica is seen when the rows are looked at again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use slipway_rpc::ProjectId;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Face, ProviderKey};
use crate::provider::Providers;
use crate::route::{Own, Upstream};
use crate::settings::KeysSettings;
use crate::store::LedgerStore;

mod envelope;
mod kms;

#[cfg(test)]
mod tests;

pub(crate) use kms::KmsError;
pub(crate) use kms::read_key;

use envelope::Owner;
use kms::{Kms, LocalKms};

/// How long a replica goes without looking whether a project's keys have changed.
const FRESH: Duration = Duration::from_secs(10);
/// How long clients that nobody uses are kept.
const IDLE: Duration = Duration::from_secs(3_600);
const MAX_PROJECTS: u64 = 100_000;
const MAX_CLIENTS: u64 = 10_000;
/// Keys that are encrypted anew between two looks at the database.
const REWRAP: u64 = 100;
/// The most keys of a project.
pub(crate) const MAX_KEYS: u64 = 100;

/// How encrypting all keys anew went.
pub(crate) struct Rewrapped {
    /// Keys of the caller's project that were.
    pub(crate) of_project: u64,
    /// The key-encryption key in use.
    pub(crate) current: String,
    /// Those that are needed still.
    pub(crate) old: Vec<String>,
}

/// The keys of all projects.
pub(crate) struct Keys {
    store: LedgerStore,
    kms: Arc<dyn Kms>,
    rows: Cache<ProjectId, Arc<[ProviderKey]>>,
    // By what the clients are made of: a key that is replaced makes others.
    clients: Cache<Made, Arc<Upstream>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Made {
    project: ProjectId,
    provider: String,
    keys: Vec<(Uuid, i64)>,
}

impl Keys {
    /// Refuses to start without the key-encryption key when there are keys: calls would go out under the wrong account.
    pub(crate) async fn open(settings: &KeysSettings, store: LedgerStore) -> Result<Self, Error> {
        let kms: Arc<dyn Kms> = Arc::new(LocalKms::new(settings));
        if kms.current().is_none() && store.has_provider_keys().await? {
            return Err(KmsError::Missing.into());
        }
        let rows = Cache::builder().max_capacity(MAX_PROJECTS).time_to_live(FRESH).build();
        let clients = Cache::builder().max_capacity(MAX_CLIENTS).time_to_idle(IDLE).build();
        Ok(Self { store, kms, rows, clients })
    }

    /// The providers that a project calls with keys of its own.
    pub(crate) async fn of(&self, project: ProjectId, providers: &Providers) -> Result<Own, Error> {
        // Nobody can have stored one.
        if self.kms.current().is_none() {
            return Ok(Own::new());
        }
        let load = async { Ok::<Arc<[_]>, Error>(self.store.provider_keys(project.0).await?.into()) };
        let rows = self.rows.try_get_with(project, load).await.map_err(Error::Shared)?;
        if rows.is_empty() {
            return Ok(Own::new());
        }
        let mut by_provider: BTreeMap<&str, Vec<&ProviderKey>> = BTreeMap::new();
        for row in rows.iter().filter(|row| providers.takes_keys(&row.provider)) {
            by_provider.entry(&row.provider).or_default().push(row);
        }
        let mut own = Own::new();
        for (provider, rows) in by_provider {
            own.insert(provider.to_owned(), self.client(project, provider, &rows, providers).await?);
        }
        Ok(own)
    }

    async fn client(
        &self,
        project: ProjectId,
        provider: &str,
        rows: &[&ProviderKey],
        providers: &Providers,
    ) -> Result<Arc<Upstream>, Error> {
        let keys = rows.iter().map(|row| (row.id, row.rotate_time)).collect();
        let made = Made { project, provider: provider.to_owned(), keys };
        let make = async {
            let mut keys = Vec::with_capacity(rows.len());
            for row in rows {
                let owner = Owner { project, provider, id: row.id };
                keys.push(envelope::decrypt(&*self.kms, owner, &row.sealed).await?);
            }
            providers.with_keys(provider, keys).map(Arc::new)
        };
        self.clients.try_get_with(made, make).await.map_err(Error::Shared)
    }

    /// Encrypts and stores a key.
    pub(crate) async fn create(
        &self,
        project: ProjectId,
        provider: String,
        title: String,
        key: &SecretString,
    ) -> Result<ProviderKey, Error> {
        let id = Uuid::now_v7();
        let sealed = envelope::encrypt(&*self.kms, Owner { project, provider: &provider, id }, key).await?;
        let now = slipway_rpc::now_micros();
        let face = Face::of(project.0, key.expose_secret());
        let row = ProviderKey { id, project: project.0, provider, title, face, sealed, create_time: now, rotate_time: now };
        self.store.insert_provider_key(&row, MAX_KEYS).await?;
        self.rows.invalidate(&project).await;
        Ok(row)
    }

    /// The keys of a project after an id, the oldest first.
    pub(crate) async fn list(&self, project: ProjectId, after: Option<Uuid>, limit: u64) -> Result<Vec<ProviderKey>, Error> {
        Ok(self.store.list_provider_keys(project.0, after, limit).await?)
    }

    /// Puts another key in a key's place.
    pub(crate) async fn rotate(&self, project: ProjectId, id: Uuid, key: &SecretString) -> Result<ProviderKey, Error> {
        let before = self.store.find_provider_key(project.0, id).await?.ok_or(Error::ProviderKeyNotFound)?;
        let sealed = envelope::encrypt(&*self.kms, Owner { project, provider: &before.provider, id }, key).await?;
        // Never the same as before, however quick somebody is.
        let rotate_time = slipway_rpc::now_micros().max(before.rotate_time + 1);
        let row = ProviderKey { face: Face::of(project.0, key.expose_secret()), sealed, rotate_time, ..before };
        if !self.store.replace_provider_key(&row).await? {
            return Err(Error::ProviderKeyNotFound);
        }
        self.rows.invalidate(&project).await;
        Ok(row)
    }

    /// Wraps the keys of all projects with the key-encryption key in use. Those that do not open are left as they are.
    pub(crate) async fn rewrap(&self, project: ProjectId) -> Result<Rewrapped, Error> {
        let current = self.kms.current().ok_or(KmsError::Missing)?.to_owned();
        let (mut of_project, mut after) = (0, None);
        loop {
            let rows = self.store.keys_of_other_keks(&current, after, REWRAP).await?;
            for row in &rows {
                let owner = Owner { project: ProjectId(row.project), provider: &row.provider, id: row.id };
                let sealed = match envelope::rewrap(&*self.kms, owner, &row.sealed).await {
                    Ok(sealed) => sealed,
                    Err(error) => {
                        let (id, error) = (row.id, &error as &dyn std::error::Error);
                        tracing::warn!(%id, error, "a provider's key stays under its old key-encryption key");
                        continue;
                    }
                };
                // One that was replaced meanwhile is under the key in use already.
                let written = self.store.rewrap_provider_key(row, &sealed).await?;
                of_project += u64::from(written && row.project == project.0);
            }
            let Some(last) = rows.last().filter(|_| rows.len() as u64 == REWRAP) else { break };
            after = Some(last.id);
        }
        // Every replica looks again; here at once.
        self.rows.invalidate_all();
        let old = self.store.keks_in_use().await?.into_iter().filter(|id| *id != current).collect();
        Ok(Rewrapped { of_project, current, old })
    }

    /// Deletes a key.
    pub(crate) async fn delete(&self, project: ProjectId, id: Uuid) -> Result<(), Error> {
        if !self.store.delete_provider_key(project.0, id).await? {
            return Err(Error::ProviderKeyNotFound);
        }
        self.rows.invalidate(&project).await;
        Ok(())
    }
}
