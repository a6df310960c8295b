//! The planner's tables: plans, their versions, what finished steps left, and their events. The only file, with those
//! below it, that knows sea-orm. The project is the first argument of every finder.

mod entity;
mod migration;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};
use slipway_bus::Live;
use slipway_storage::requests::{self, Claim};
use slipway_storage::{EventLog, NewJob, Queue, QueueSettings, StorageError, Store, StoreSettings, Tx};
use uuid::Uuid;

pub use migration::Migrator;

use crate::convert::RequestKey;
use crate::error::Error;
use crate::events::{self, Happened};
use crate::model::{Plan, PlanJob, PlanState, PlanVersion, QueuedJob, StepFile};
use entity::{plan, plan_file, plan_version};

const SCHEMA: &str = "planner";

/// The planner's state; cheap to clone.
#[derive(Clone)]
pub(crate) struct PlanStore {
    store: Store,
    log: EventLog,
    queue: Queue,
}

impl PlanStore {
    /// Opens and migrates.
    pub(crate) async fn open(settings: &StoreSettings, live: &Live, queue: QueueSettings) -> Result<PlanStore, StorageError> {
        let store = Store::open(settings, SCHEMA).await?;
        store.join(live);
        store.prepare::<Migrator>().await?;
        Ok(PlanStore { log: EventLog::new(store.clone()), queue: Queue::new(store.clone(), queue), store })
    }

    /// The queue of drafts and applies.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What the rows are kept in.
    pub(crate) fn database(&self) -> Store {
        self.store.clone()
    }

    /// The events of plans.
    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    /// Starts a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, StorageError> {
        self.store.begin().await
    }

    /// A plan.
    pub(crate) async fn find_plan(&self, project: Uuid, id: Uuid) -> Result<Option<Plan>, Error> {
        let select = plan::Entity::find_by_id(id).filter(plan::Column::ProjectId.eq(project));
        select.one(self.store.read()).await.map_err(StorageError::from)?.map(plan::Model::read).transpose()
    }

    /// A plan, locked until the transaction ends.
    pub(crate) async fn find_plan_in(&self, tx: &Tx, project: Uuid, id: Uuid) -> Result<Option<Plan>, Error> {
        let select = plan::Entity::find_by_id(id).filter(plan::Column::ProjectId.eq(project)).lock_exclusive();
        select.one(tx.conn()).await.map_err(StorageError::from)?.map(plan::Model::read).transpose()
    }

    /// Plans of a project, the newest first, those made before `before` only.
    pub(crate) async fn list_plans(
        &self,
        project: Uuid,
        workspace: Option<Uuid>,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Plan>, Error> {
        let mut select = plan::Entity::find().filter(plan::Column::ProjectId.eq(project));
        if let Some(workspace) = workspace {
            select = select.filter(plan::Column::WorkspaceId.eq(workspace));
        }
        if let Some(before) = before {
            select = select.filter(plan::Column::Id.lt(before));
        }
        let select = select.order_by_desc(plan::Column::Id).limit(limit);
        let rows = select.all(self.store.read()).await.map_err(StorageError::from)?;
        rows.into_iter().map(plan::Model::read).collect()
    }

    /// The jobs of every plan that is being drafted or applied, of all projects: for the start of a process.
    pub(crate) async fn list_unfinished(&self) -> Result<Vec<(Uuid, PlanJob)>, Error> {
        let states = [PlanState::Drafting.as_str(), PlanState::Applying.as_str()];
        let select = plan::Entity::find().filter(plan::Column::State.is_in(states));
        let rows = select.all(self.store.read()).await.map_err(StorageError::from)?;
        let plans = rows.into_iter().map(plan::Model::read).collect::<Result<Vec<_>, _>>()?;
        Ok(plans.iter().filter_map(|p| Some((p.project_id, p.job()?))).collect())
    }

    /// A version of a plan.
    pub(crate) async fn find_version(&self, project: Uuid, plan: Uuid, version: u32) -> Result<Option<PlanVersion>, Error> {
        let select =
            versions(project).filter(plan_version::Column::PlanId.eq(plan)).filter(plan_version::Column::Version.eq(version));
        select.one(self.store.read()).await.map_err(StorageError::from)?.map(plan_version::Model::read).transpose()
    }

    /// A version of a plan, as the transaction sees it.
    pub(crate) async fn find_version_in(
        &self,
        tx: &Tx,
        project: Uuid,
        plan: Uuid,
        version: u32,
    ) -> Result<Option<PlanVersion>, Error> {
        let select =
            versions(project).filter(plan_version::Column::PlanId.eq(plan)).filter(plan_version::Column::Version.eq(version));
        select.one(tx.conn()).await.map_err(StorageError::from)?.map(plan_version::Model::read).transpose()
    }

    /// The version that has this id, as the transaction sees it.
    pub(crate) async fn find_version_by_id(&self, tx: &Tx, project: Uuid, id: Uuid) -> Result<Option<PlanVersion>, Error> {
        let select = versions(project).filter(plan_version::Column::Id.eq(id));
        select.one(tx.conn()).await.map_err(StorageError::from)?.map(plan_version::Model::read).transpose()
    }

    /// What the finished steps of a version left, in their order.
    pub(crate) async fn list_step_files(&self, project: Uuid, plan: Uuid, version: u32) -> Result<Vec<StepFile>, Error> {
        let select = plan_file::Entity::find()
            .filter(plan_file::Column::ProjectId.eq(project))
            .filter(plan_file::Column::PlanId.eq(plan))
            .filter(plan_file::Column::Version.eq(version))
            .order_by_asc(plan_file::Column::Step);
        let rows = select.all(self.store.read()).await.map_err(StorageError::from)?;
        rows.into_iter().map(plan_file::Model::read).collect()
    }

    /// Whether a request was seen before; always new without an id.
    pub(crate) async fn claim(&self, tx: &Tx, project: Uuid, method: &str, key: &RequestKey) -> Result<Claim, StorageError> {
        if key.id.is_empty() {
            return Ok(Claim::New);
        }
        requests::begin(tx, project, method, &key.id, &key.hash).await
    }

    /// Remembers what a request made.
    pub(crate) async fn remember(
        &self,
        tx: &Tx,
        project: Uuid,
        method: &str,
        key: &RequestKey,
        result: Uuid,
    ) -> Result<(), StorageError> {
        if key.id.is_empty() {
            return Ok(());
        }
        requests::record(tx, project, method, &key.id, &key.hash, result).await
    }

    /// Stores a new plan, without events yet.
    pub(crate) async fn insert_plan(&self, tx: &Tx, plan: &Plan) -> Result<(), Error> {
        plan::ActiveModel::from(plan::Model::write(plan)?).insert(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Stores a new version of a plan.
    pub(crate) async fn insert_version(&self, tx: &Tx, project: Uuid, version: &PlanVersion) -> Result<(), Error> {
        let row = plan_version::Model::write(project, version)?;
        plan_version::ActiveModel::from(row).insert(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Binds an approval to a version.
    pub(crate) async fn approve_version(&self, tx: &Tx, version: &PlanVersion, by: Uuid, sequence: u64) -> Result<(), Error> {
        let row = plan_version::ActiveModel {
            id: Set(version.id),
            approved_by: Set(Some(by)),
            apply_sequence: Set(Some(entity::signed(sequence))),
            ..Default::default()
        };
        row.update(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Appends what happened to the plan's log and stores the plan as it is then.
    pub(crate) async fn record(&self, tx: &mut Tx, plan: &mut Plan, happened: &[Happened]) -> Result<(), Error> {
        let first = plan.last_sequence + 1;
        let events = events::encode(plan, happened);
        self.log.append(tx, plan.id, first, &events).await?;
        // Every column but those that never change.
        let row = plan::ActiveModel::from(plan::Model::write(plan)?).reset_all();
        row.update(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Keeps what a finished step left.
    pub(crate) async fn put_step_file(&self, tx: &Tx, plan: &Plan, file: &StepFile) -> Result<(), Error> {
        let row = plan_file::ActiveModel::from(plan_file::Model::write(plan, file));
        let key = [plan_file::Column::PlanId, plan_file::Column::Version, plan_file::Column::Step];
        let again = OnConflict::columns(key).update_columns([plan_file::Column::Kind, plan_file::Column::Content]).to_owned();
        let insert = plan_file::Entity::insert(row).on_conflict(again);
        insert.exec_without_returning(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Forgets what the steps of a plan left: they are in a revision by now, or never will be.
    pub(crate) async fn delete_step_files(&self, tx: &Tx, plan: &Plan) -> Result<(), Error> {
        let delete = plan_file::Entity::delete_many()
            .filter(plan_file::Column::ProjectId.eq(plan.project_id))
            .filter(plan_file::Column::PlanId.eq(plan.id));
        delete.exec(tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Queues a job and starts it here as soon as the transaction is committed, if there is room.
    pub(crate) async fn start(&self, tx: &mut Tx, project: Uuid, job: QueuedJob, traceparent: String) -> Result<(), Error> {
        self.queue.enqueue_and_start(tx, new_job(project, &job, traceparent)?).await?;
        Ok(())
    }

    /// Queues a job unless it waits or runs already.
    pub(crate) async fn enqueue(&self, tx: &mut Tx, project: Uuid, job: PlanJob) -> Result<bool, Error> {
        let job = QueuedJob { job, origin: None };
        Ok(self.queue.enqueue(tx, new_job(project, &job, String::new())?).await?.created)
    }
}

/// The kind of the planner's jobs.
pub(crate) const JOB_KIND: &str = "plan";

fn versions(project: Uuid) -> sea_orm::Select<plan_version::Entity> {
    plan_version::Entity::find().filter(plan_version::Column::ProjectId.eq(project))
}

fn new_job(project: Uuid, job: &QueuedJob, traceparent: String) -> Result<NewJob, Error> {
    let payload = serde_json::to_vec(job).map_err(|e| Error::Corrupt(format!("a job: {e}")))?;
    Ok(NewJob { kind: JOB_KIND, key: job.job.key(), project_id: project, payload, traceparent })
}
