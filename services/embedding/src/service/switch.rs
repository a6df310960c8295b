//! The end of a switch: when nothing is left in another engine, and ours holds what the records say, ours takes the place of
//! the others, and they go. What does not fit together keeps them, and is built again.

use std::collections::HashSet;

use super::Service;
use super::build::ids_of;
use crate::error::Error;
use crate::index::{Tenant, VectorIndex};
use crate::model::state::WorkspaceIndex;
use crate::store::Wanted;

/// Chunks of a workspace that are read and compared.
const SAMPLE: usize = 8;

impl Service {
    /// Has what is in another engine move to ours, if ours is the one that was asked for last: of two replicas with different
    /// models only the one that was started last moves anything.
    pub(super) async fn move_over(&self) -> Result<(), Error> {
        let current = self.index.engine().await?;
        if !self.is_asked_for(current.name()).await? {
            return Ok(());
        }
        let mut tx = self.records.begin().await?;
        for index in self.records.list_elsewhere(current.name()).await? {
            self.enqueue_move(&mut tx, &index).await?;
        }
        Ok(tx.commit().await?)
    }

    /// After a move or a build: it may have been the last one that was elsewhere.
    pub(super) async fn move_on(&self) {
        let moving = self.index.engines().await.is_ok_and(|engines| !engines.others.is_empty());
        if moving && let Err(error) = self.settle_switch().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the index before is kept for now");
        }
    }

    /// Ends the switch, if there is one and it can be ended.
    pub(super) async fn settle_switch(&self) -> Result<(), Error> {
        let _one = self.switching.lock().await;
        let engines = self.index.engines().await?;
        let current = engines.current;
        if engines.others.is_empty()
            || !self.is_asked_for(current.name()).await?
            || !self.records.list_elsewhere(current.name()).await?.is_empty()
        {
            return Ok(());
        }
        if !self.is_whole(current.as_ref()).await? {
            return Ok(());
        }
        current.take_over().await?;
        // From here on nothing can come to be in the others: no build moves a workspace out of the engine that it is in but
        // to ours.
        for other in self.index.leave_others() {
            other.destroy().await?;
            self.models.leave(other.name());
            let tx = self.records.begin().await?;
            self.records.forget_engine(&tx, other.name()).await?;
            tx.commit().await?;
            tracing::info!(engine = current.name(), before = other.name(), "the switch to another index is done");
        }
        Ok(())
    }

    async fn is_asked_for(&self, name: &str) -> Result<bool, Error> {
        Ok(self.records.list_asked().await?.first().is_none_or(|asked| asked.name == name))
    }

    /// Whether our engine holds every chunk of every workspace, as the records count them. What it does not is built again.
    async fn is_whole(&self, engine: &dyn VectorIndex) -> Result<bool, Error> {
        let mut whole = true;
        for index in self.records.list_built(engine.name()).await? {
            let Some(why) = self.unfit(engine, &index).await? else { continue };
            whole = false;
            tracing::error!(
                workspace_id = %index.workspace,
                engine = engine.name(),
                reason = why,
                "the new index is not what it must be: the one before is kept, and the workspace is built again"
            );
            let Some(revision) = index.revision else { continue };
            let tenant = Tenant { project: index.project, workspace: index.workspace };
            let wanted = Wanted { tenant, user: index.user, revision, number: index.revision_number };
            let mut tx = self.records.begin().await?;
            if let Some(index) = self.records.want(&tx, wanted, true).await? {
                self.enqueue_build(&mut tx, &index, "").await?;
            }
            tx.commit().await?;
        }
        Ok(whole)
    }

    /// What does not fit together in a workspace; nothing is said of one that changes while it is looked at.
    async fn unfit(&self, engine: &dyn VectorIndex, index: &WorkspaceIndex) -> Result<Option<String>, Error> {
        let tenant = Tenant { project: index.project, workspace: index.workspace };
        let files = self.records.list_files(tenant).await?;
        let present: HashSet<_> = engine.ids(tenant, false).await?.into_iter().collect();
        let live: Vec<_> = files.iter().flat_map(|file| ids_of(tenant, file).map(move |id| (id, file))).collect();
        let there = live.iter().filter(|(id, _)| present.contains(id)).count() as u64;
        let every = (live.len() / SAMPLE).max(1);
        let sample: Vec<_> = live.iter().step_by(every).filter(|(id, _)| present.contains(id)).collect();
        let read = engine.points(tenant, sample.iter().map(|(id, _)| *id).collect()).await?;
        let wrong = sample
            .iter()
            .find(|(id, file)| !read.iter().any(|point| (point.id, &point.path, &point.blob) == (*id, &file.path, &file.blob)));
        let why = match wrong {
            _ if there != index.chunk_count => Some(format!("it has {there} of {} chunks", index.chunk_count)),
            Some((_, file)) => Some(format!("a chunk of {} is not the file's", file.path)),
            None => None,
        };
        let now = self.records.find_index(index.project, index.workspace).await?;
        let same = now.is_some_and(|now| (now.built, now.engine.as_str()) == (index.built, index.engine.as_str()));
        Ok(why.filter(|_| same))
    }
}
