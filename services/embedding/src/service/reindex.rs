//! Re-indexing on request: a build that chunks every file again, and the stream that follows it. Vectors of texts that were
//! embedded before come from the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use slipway_rpc::Ctx;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use uuid::Uuid;

use super::Service;
use crate::error::Error;
use crate::index::Tenant;
use crate::model::state::WorkspaceIndex;
use crate::store::Wanted;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the record is looked at when nothing announces a change: another replica may have the job.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// One step of a re-index.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// So many chunks of so many are done.
    Progress {
        /// Done.
        done: u64,
        /// In all; 0 while not known.
        total: u64,
    },
    /// It is ready. Last.
    Ready(Box<WorkspaceIndex>),
    /// It failed. Last.
    Failed(Box<WorkspaceIndex>),
    /// Nothing new.
    Heartbeat,
}

impl Service {
    /// Starts a build of the head and follows it. The work goes on when nobody listens.
    pub(crate) async fn reindex(
        self: &Arc<Self>,
        ctx: &Ctx,
        workspace: Uuid,
    ) -> Result<impl Stream<Item = Result<Step, Error>> + Send + 'static, Error> {
        let changed = self.changed.subscribe();
        let head = self.files.head(ctx, workspace).await?;
        let tenant = Tenant { project: ctx.project, workspace };
        let first = match head.revision {
            None => Following::Empty(Box::new(empty(ctx, tenant))),
            Some(revision) => {
                let wanted = Wanted { tenant, user: ctx.caller.user, revision, number: head.number };
                let mut tx = self.records.begin().await?;
                // When a newer revision is wanted already, its build is the one to follow.
                if let Some(index) = self.records.want(&tx, wanted, true).await? {
                    self.enqueue_build(&mut tx, &index, &ctx.traceparent()).await?;
                }
                tx.commit().await?;
                let index = self.records.find_index(tenant.project, workspace).await?.ok_or(Error::IndexNotFound)?;
                Following::Build { tenant, build: index.wanted, changed, last: None }
            }
        };
        let service = self.clone();
        Ok(futures::stream::try_unfold(first, move |following| {
            let service = service.clone();
            async move { service.next_step(following).await }
        }))
    }

    async fn next_step(&self, following: Following) -> Result<Option<(Step, Following)>, Error> {
        match following {
            Following::Ended => Ok(None),
            Following::Empty(index) => Ok(Some((Step::Ready(index), Following::Ended))),
            Following::Build { tenant, build, mut changed, last } => {
                let silent_until = Instant::now() + HEARTBEAT;
                loop {
                    let index = self.records.find_index(tenant.project, tenant.workspace).await?.ok_or(Error::IndexNotFound)?;
                    let step = step_of(index, build);
                    match &step {
                        Step::Progress { done, total } if last != Some((*done, *total)) => {
                            let last = Some((*done, *total));
                            return Ok(Some((step, Following::Build { tenant, build, changed, last })));
                        }
                        Step::Ready(_) | Step::Failed(_) => return Ok(Some((step, Following::Ended))),
                        _ => {}
                    }
                    if Instant::now() >= silent_until {
                        return Ok(Some((Step::Heartbeat, Following::Build { tenant, build, changed, last })));
                    }
                    // Either way, the record is what counts.
                    let _ = tokio::time::timeout(LOOK_AGAIN, change_of(&mut changed, tenant.workspace)).await;
                }
            }
        }
    }
}

enum Following {
    Empty(Box<WorkspaceIndex>),
    Build { tenant: Tenant, build: u64, changed: broadcast::Receiver<Uuid>, last: Option<(u64, u64)> },
    Ended,
}

fn step_of(index: WorkspaceIndex, build: u64) -> Step {
    if index.failed >= build && index.built < build {
        Step::Failed(Box::new(index))
    } else if index.built < build {
        Step::Progress { done: 0, total: 0 }
    } else if index.settled >= index.built {
        Step::Ready(Box::new(index))
    } else {
        Step::Progress { done: index.vector_count, total: index.chunk_count }
    }
}

/// Waits until something has happened to the workspace, or may have.
async fn change_of(changed: &mut broadcast::Receiver<Uuid>, workspace: Uuid) {
    loop {
        match changed.recv().await {
            Ok(other) if other != workspace => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The index of a workspace without a revision: ready, and empty.
fn empty(ctx: &Ctx, tenant: Tenant) -> WorkspaceIndex {
    WorkspaceIndex {
        project: tenant.project,
        workspace: tenant.workspace,
        user: ctx.caller.user,
        wanted: 0,
        wanted_revision: Uuid::nil(),
        wanted_number: 0,
        anew: 0,
        built: 0,
        engine: String::new(),
        revision: None,
        revision_number: 0,
        failed: 0,
        failure: String::new(),
        settled: 0,
        vector_failure: String::new(),
        file_count: 0,
        chunk_count: 0,
        vector_count: 0,
        embedded_count: 0,
        update_time: slipway_rpc::now_micros(),
    }
}
