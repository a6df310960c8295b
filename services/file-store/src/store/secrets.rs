//! The table of what was found in the files of manifests.

use blake3::Hash;
use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use slipway_rpc::now_micros;
use slipway_storage::{Lease, StorageError};

use super::entity::{revision, secret_report};
use super::{WorkspaceStore, Write};
use crate::error::Error;
use crate::garbage::CollectError;
use crate::model::SecretReport;

impl WorkspaceStore {
    /// What today's rules found in the files of a manifest, if anybody has looked.
    pub(crate) async fn find_secrets(&self, manifest: Hash) -> Result<Option<SecretReport>, Error> {
        let query = secret_report::Entity::find_by_id(manifest.to_hex().to_string());
        let Some(row) = query.one(self.store.read()).await.map_err(StorageError::from)? else { return Ok(None) };
        let report = serde_json::from_str::<SecretReport>(&row.report);
        let report = report.map_err(|_| Error::Corrupt("a report of secrets cannot be read"))?;
        Ok(Some(report).filter(SecretReport::is_current))
    }

    /// Removes reports that no revision has, if they are older than `before`.
    pub(crate) async fn delete_stray_reports(&self, lease: &Lease, before: i64) -> Result<(), CollectError> {
        let tx = self.store.begin().await?;
        lease.check(&tx).await?;
        let kept = Query::select().column(revision::Column::Hash).from(revision::Entity).to_owned();
        let stray = secret_report::Entity::delete_many()
            .filter(secret_report::Column::CreateTime.lt(before))
            .filter(secret_report::Column::Hash.not_in_subquery(kept));
        stray.exec(tx.conn()).await.map_err(StorageError::from)?;
        Ok(tx.commit().await?)
    }
}

impl Write {
    /// Keeps what was found in the files of a manifest.
    pub(crate) async fn save_secrets(&self, manifest: Hash, report: &SecretReport) -> Result<(), Error> {
        let report = serde_json::to_string(report).map_err(|_| Error::Corrupt("a report of secrets cannot be written"))?;
        let row = secret_report::ActiveModel {
            hash: Set(manifest.to_hex().to_string()),
            report: Set(report.clone()),
            create_time: Set(now_micros()),
        };
        let known =
            OnConflict::column(secret_report::Column::Hash).value(secret_report::Column::Report, Expr::value(report)).to_owned();
        let insert = secret_report::Entity::insert(row).on_conflict(known);
        insert.exec_without_returning(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }
}
