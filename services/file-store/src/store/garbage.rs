//! The tables of garbage collection: `garbage`, the blobs that nothing seems to refer to, and `collection`, one row that
//! tells writers what a collector is doing. What the statements promise each other is said in `crate::garbage`.

use blake3::Hash;
use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use slipway_storage::{Lease, StorageError};
use uuid::Uuid;

use super::entity::{collection, document_text, garbage, overlay, parse_hash, revision, to_i64};
use super::{WorkspaceStore, Write};
use crate::error::Error;
use crate::garbage::{CollectError, Report};
use crate::model::Kept;

/// How many rows one statement names.
const AT_ONCE: usize = 400;
const MARKED: i16 = 0;
const CONDEMNED: i16 = 1;
/// The one row of `collection`.
const ONLY: i16 = 1;

/// What writers must know of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// Counts the condemnations.
    pub(crate) number: i64,
    /// Whether blobs are condemned now.
    pub(crate) sweeping: bool,
}

/// Whose manifests are listed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owners {
    Overlays,
    Revisions,
}

/// What became of the last collection.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    /// How many have ended.
    pub(crate) count: i64,
    pub(crate) end_time: i64,
    pub(crate) report: Report,
}

impl WorkspaceStore {
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        let row = collection::Entity::find_by_id(ONLY).one(self.store.read()).await.map_err(StorageError::from)?;
        let row = row.ok_or(Error::Corrupt("the state of garbage collection is gone"))?;
        Ok(Epoch { number: row.epoch, sweeping: row.sweeping })
    }

    pub(crate) async fn last_collection(&self) -> Result<Last, Error> {
        let row = collection::Entity::find_by_id(ONLY).one(self.store.read()).await.map_err(StorageError::from)?;
        let row = row.ok_or(Error::Corrupt("the state of garbage collection is gone"))?;
        let report = serde_json::from_str(&row.report).map_err(|_| Error::Corrupt("a collection's report cannot be read"))?;
        Ok(Last { count: row.finished, end_time: row.end_time, report })
    }

    /// Those of `hashes` that are condemned now.
    pub(crate) async fn find_condemned(&self, hashes: &[Hash]) -> Result<Vec<Hash>, Error> {
        let mut found = Vec::new();
        for hashes in hashes.chunks(AT_ONCE) {
            let rows = garbage::Entity::find().filter(garbage::Column::State.eq(CONDEMNED)).filter(named(hashes));
            for row in rows.all(self.store.read()).await.map_err(StorageError::from)? {
                found.push(parse_hash(&row.hash)?);
            }
        }
        Ok(found)
    }

    /// The manifests that are blobs of all revisions and overlays of all workspaces, each once, in the order of their hashes.
    pub(crate) async fn list_manifests(&self, after: Option<Hash>, limit: u64) -> Result<Vec<Hash>, Error> {
        let after = after.map(|after| after.to_hex().to_string());
        // In the order in which a manifest moves from one to the other.
        let mut rows =
            self.list_wholes::<overlay::Entity>(overlay::Column::Hash, overlay::Column::RootHash, &after, limit).await?;
        rows.extend(
            self.list_wholes::<revision::Entity>(revision::Column::Hash, revision::Column::RootHash, &after, limit).await?,
        );
        // The lowest of each are among the lowest of all.
        rows.sort_unstable();
        rows.dedup();
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        rows.iter().map(|hash| parse_hash(hash)).collect()
    }

    /// The same of one table: manifests without a root, and roots.
    async fn list_wholes<E: EntityTrait>(
        &self,
        hash: E::Column,
        root: E::Column,
        after: &Option<String>,
        limit: u64,
    ) -> Result<Vec<String>, Error> {
        let mut rows = Vec::new();
        for (column, lists) in [(hash, root.is_null()), (root, root.is_not_null())] {
            let mut query = E::find().select_only().column(column).distinct().filter(lists);
            if let Some(after) = after {
                query = query.filter(column.gt(after.as_str()));
            }
            let query = query.order_by_asc(column).limit(limit).into_tuple::<String>();
            rows.extend(query.all(self.store.read()).await.map_err(StorageError::from)?);
        }
        Ok(rows)
    }

    /// The deltas of all overlays, or of all revisions, with the ids that they are listed by.
    pub(crate) async fn list_deltas(&self, of: Owners, after: Option<Uuid>, limit: u64) -> Result<Vec<(Uuid, Kept)>, Error> {
        match of {
            Owners::Overlays => {
                let query = overlay::Entity::find().filter(overlay::Column::Delta.is_not_null());
                let query = after.into_iter().fold(query, |query, after| query.filter(overlay::Column::Id.gt(after)));
                let rows = query.order_by_asc(overlay::Column::Id).limit(limit).all(self.store.read()).await;
                let rows = rows.map_err(StorageError::from)?.into_iter().map(overlay::Model::into_overlay);
                rows.map(|overlay| overlay.map(|overlay| (overlay.id, overlay.manifest))).collect()
            }
            Owners::Revisions => {
                let query = revision::Entity::find().filter(revision::Column::Delta.is_not_null());
                let query = after.into_iter().fold(query, |query, after| query.filter(revision::Column::Id.gt(after)));
                let rows = query.order_by_asc(revision::Column::Id).limit(limit).all(self.store.read()).await;
                let rows = rows.map_err(StorageError::from)?.into_iter().map(revision::Model::into_revision);
                rows.map(|revision| revision.map(|revision| (revision.id, revision.manifest))).collect()
            }
        }
    }

    /// Whether a revision or an overlay needs this manifest.
    pub(crate) async fn has_manifest(&self, hash: Hash) -> Result<bool, Error> {
        let hash = hash.to_hex();
        let hash = hash.as_str();
        let revisions = revision::Entity::find()
            .filter(Condition::any().add(revision::Column::Hash.eq(hash)).add(revision::Column::RootHash.eq(hash)));
        let overlays = overlay::Entity::find()
            .filter(Condition::any().add(overlay::Column::Hash.eq(hash)).add(overlay::Column::RootHash.eq(hash)));
        // In the order in which a manifest moves from one to the other.
        Ok(overlays.count(self.store.read()).await.map_err(StorageError::from)? > 0
            || revisions.count(self.store.read()).await.map_err(StorageError::from)? > 0)
    }

    /// Remembers blobs that nothing seems to refer to. Gives how many were not remembered before.
    pub(crate) async fn mark(&self, lease: &Lease, blobs: &[(Hash, u64)], now: i64) -> Result<u64, CollectError> {
        let mut marked = 0;
        for blobs in blobs.chunks(AT_ONCE) {
            let tx = self.store.begin().await?;
            lease.check(&tx).await?;
            let rows = blobs.iter().map(|(hash, size)| garbage::ActiveModel {
                hash: Set(hash.to_hex().to_string()),
                state: Set(MARKED),
                size: Set(to_i64(*size)),
                mark_time: Set(now),
            });
            let known = OnConflict::column(garbage::Column::Hash).do_nothing().to_owned();
            let insert = garbage::Entity::insert_many(rows).on_conflict(known);
            marked += insert.exec_without_returning(tx.conn()).await.map_err(StorageError::from)?;
            tx.commit().await?;
        }
        Ok(marked)
    }

    /// Condemns blobs that were marked at `before` or earlier, and has every writer who began earlier look again.
    pub(crate) async fn condemn(&self, lease: &Lease, before: i64, limit: u64) -> Result<u64, CollectError> {
        let tx = self.store.begin().await?;
        lease.check(&tx).await?;
        let old = Query::select()
            .column(garbage::Column::Hash)
            .from(garbage::Entity)
            .and_where(garbage::Column::State.eq(MARKED))
            .and_where(garbage::Column::MarkTime.lte(before))
            .limit(limit)
            .to_owned();
        let condemn = garbage::Entity::update_many()
            .col_expr(garbage::Column::State, Expr::value(CONDEMNED))
            .filter(garbage::Column::Hash.in_subquery(old));
        let condemned = condemn.exec(tx.conn()).await.map_err(StorageError::from)?.rows_affected;
        if condemned > 0 {
            let advance = collection::Entity::update_many()
                .col_expr(collection::Column::Epoch, Expr::col(collection::Column::Epoch).add(1))
                .col_expr(collection::Column::Sweeping, Expr::value(true))
                .filter(collection::Column::Id.eq(ONLY));
            advance.exec(tx.conn()).await.map_err(StorageError::from)?;
        }
        tx.commit().await?;
        Ok(condemned)
    }

    /// The blobs that are condemned, with their sizes.
    pub(crate) async fn list_condemned(&self, limit: u64) -> Result<Vec<(Hash, u64)>, Error> {
        let query = garbage::Entity::find().filter(garbage::Column::State.eq(CONDEMNED)).limit(limit);
        let rows = query.all(self.store.read()).await.map_err(StorageError::from)?;
        rows.into_iter().map(|row| Ok((parse_hash(&row.hash)?, row.size.unsigned_abs()))).collect()
    }

    /// Fails unless the collector still holds its lease.
    pub(crate) async fn check(&self, lease: &Lease) -> Result<(), CollectError> {
        let tx = self.store.begin().await?;
        lease.check(&tx).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the condemnation of blobs: they are gone, or somebody refers to them after all.
    pub(crate) async fn forget(&self, lease: &Lease, hashes: &[Hash]) -> Result<(), CollectError> {
        for hashes in hashes.chunks(AT_ONCE) {
            let tx = self.store.begin().await?;
            lease.check(&tx).await?;
            let delete = garbage::Entity::delete_many().filter(garbage::Column::State.eq(CONDEMNED)).filter(named(hashes));
            delete.exec(tx.conn()).await.map_err(StorageError::from)?;
            // Of what is still there it is made again.
            let hashes = hashes.iter().map(|hash| hash.to_hex().to_string());
            let texts = document_text::Entity::delete_many().filter(document_text::Column::Hash.is_in(hashes));
            texts.exec(tx.conn()).await.map_err(StorageError::from)?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Ends a collection together with its job.
    pub(crate) async fn finish(&self, lease: &Lease, report: &Report, now: i64) -> Result<(), CollectError> {
        let tx = self.store.begin().await?;
        let condemned =
            Query::select().expr(Expr::val(1)).from(garbage::Entity).and_where(garbage::Column::State.eq(CONDEMNED)).to_owned();
        let report = serde_json::to_string(report).map_err(CollectError::Report)?;
        let finish = collection::Entity::update_many()
            .col_expr(collection::Column::Sweeping, Expr::exists(condemned))
            .col_expr(collection::Column::Finished, Expr::col(collection::Column::Finished).add(1))
            .col_expr(collection::Column::EndTime, Expr::value(now))
            .col_expr(collection::Column::Report, Expr::value(report))
            .filter(collection::Column::Id.eq(ONLY));
        finish.exec(tx.conn()).await.map_err(StorageError::from)?;
        lease.complete(&tx).await?;
        Ok(tx.commit().await?)
    }
}

impl Write {
    /// The number of condemnations, which stays as it is until this transaction ends.
    pub(crate) async fn hold_epoch(&self) -> Result<i64, Error> {
        let query = collection::Entity::find_by_id(ONLY).lock(LockType::Share);
        let row = query.one(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(row.ok_or(Error::Corrupt("the state of garbage collection is gone"))?.epoch)
    }
}

fn named(hashes: &[Hash]) -> Expr {
    garbage::Column::Hash.is_in(hashes.iter().map(|hash| hash.to_hex().to_string()))
}
