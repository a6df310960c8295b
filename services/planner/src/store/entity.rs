//! The rows of the planner's tables, and the way between them and the model.
#![allow(unreachable_pub, reason = "the derive of entities wants public types")]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A sequence or a count as the engines store it.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Corrupt(format!("a plan's column: {e}")))
}

fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::Corrupt(format!("a plan's column: {e}")))
}

/// Plans.
pub(super) mod plan {
    use sea_orm::entity::prelude::*;

    use super::{json, of_json, signed, unsigned};
    use crate::error::Error;
    use crate::model::{Base, Failure, Plan, PlanState, Usage};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plan")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub project_id: Uuid,
        pub workspace_id: Uuid,
        pub conversation_id: Option<Uuid>,
        #[sea_orm(column_type = "Text")]
        pub request: String,
        #[sea_orm(column_type = "Text")]
        pub summary: String,
        pub state: String,
        pub version: i32,
        pub base_revision_id: Uuid,
        pub base_revision_hash: String,
        #[sea_orm(column_type = "Text")]
        pub steps: String,
        #[sea_orm(column_type = "Text")]
        pub looked_at: String,
        pub applied_revision_id: Option<Uuid>,
        pub failure_reason: Option<String>,
        #[sea_orm(column_type = "Text", nullable)]
        pub failure_message: Option<String>,
        pub model: String,
        pub input_tokens: i64,
        pub output_tokens: i64,
        pub cached_input_tokens: i64,
        pub reasoning_tokens: i64,
        pub usage_estimated: bool,
        pub last_sequence: i64,
        pub created_by: Uuid,
        pub create_time: i64,
        pub update_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn read(self) -> Result<Plan, Error> {
            let state = PlanState::find(&self.state).ok_or_else(|| Error::Corrupt(format!("the plan state {:?}", self.state)))?;
            let failure = self.failure_reason.map(|reason| Failure { reason, message: self.failure_message.unwrap_or_default() });
            Ok(Plan {
                id: self.id,
                project_id: self.project_id,
                workspace_id: self.workspace_id,
                conversation_id: self.conversation_id,
                request: self.request,
                summary: self.summary,
                state,
                version: self.version.unsigned_abs(),
                base: Base { revision_id: self.base_revision_id, hash: self.base_revision_hash },
                steps: of_json(&self.steps)?,
                looked_at: of_json(&self.looked_at)?,
                applied_revision_id: self.applied_revision_id,
                failure,
                model: self.model,
                usage: Usage {
                    input_tokens: unsigned(self.input_tokens),
                    output_tokens: unsigned(self.output_tokens),
                    cached_input_tokens: unsigned(self.cached_input_tokens),
                    reasoning_tokens: unsigned(self.reasoning_tokens),
                    estimated: self.usage_estimated,
                },
                last_sequence: unsigned(self.last_sequence),
                created_by: self.created_by,
                create_time: self.create_time,
                update_time: self.update_time,
            })
        }

        pub(crate) fn write(plan: &Plan) -> Result<Model, Error> {
            Ok(Model {
                id: plan.id,
                project_id: plan.project_id,
                workspace_id: plan.workspace_id,
                conversation_id: plan.conversation_id,
                request: plan.request.clone(),
                summary: plan.summary.clone(),
                state: plan.state.as_str().to_owned(),
                version: i32::try_from(plan.version).unwrap_or(i32::MAX),
                base_revision_id: plan.base.revision_id,
                base_revision_hash: plan.base.hash.clone(),
                steps: json(&plan.steps)?,
                looked_at: json(&plan.looked_at)?,
                applied_revision_id: plan.applied_revision_id,
                failure_reason: plan.failure.as_ref().map(|f| f.reason.clone()),
                failure_message: plan.failure.as_ref().map(|f| f.message.clone()),
                model: plan.model.clone(),
                input_tokens: signed(plan.usage.input_tokens),
                output_tokens: signed(plan.usage.output_tokens),
                cached_input_tokens: signed(plan.usage.cached_input_tokens),
                reasoning_tokens: signed(plan.usage.reasoning_tokens),
                usage_estimated: plan.usage.estimated,
                last_sequence: signed(plan.last_sequence),
                created_by: plan.created_by,
                create_time: plan.create_time,
                update_time: plan.update_time,
            })
        }
    }
}

/// Versions of plans.
pub(super) mod plan_version {
    use sea_orm::entity::prelude::*;

    use super::{json, of_json, signed, unsigned};
    use crate::error::Error;
    use crate::model::PlanVersion;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plan_version")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub project_id: Uuid,
        pub plan_id: Uuid,
        pub version: i32,
        pub base_revision_id: Uuid,
        #[sea_orm(column_type = "Text")]
        pub brief: String,
        pub draft_sequence: i64,
        pub apply_sequence: Option<i64>,
        pub approved_by: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn read(self) -> Result<PlanVersion, Error> {
            Ok(PlanVersion {
                id: self.id,
                plan_id: self.plan_id,
                version: self.version.unsigned_abs(),
                base_revision_id: self.base_revision_id,
                brief: of_json(&self.brief)?,
                draft_sequence: unsigned(self.draft_sequence),
                apply_sequence: self.apply_sequence.map(unsigned),
                approved_by: self.approved_by,
            })
        }

        pub(crate) fn write(project_id: Uuid, version: &PlanVersion) -> Result<Model, Error> {
            Ok(Model {
                id: version.id,
                project_id,
                plan_id: version.plan_id,
                version: i32::try_from(version.version).unwrap_or(i32::MAX),
                base_revision_id: version.base_revision_id,
                brief: json(&version.brief)?,
                draft_sequence: signed(version.draft_sequence),
                apply_sequence: version.apply_sequence.map(signed),
                approved_by: version.approved_by,
            })
        }
    }
}

/// What finished steps left of their files.
pub(super) mod plan_file {
    use sea_orm::entity::prelude::*;

    use crate::error::Error;
    use crate::model::{FileContent, Plan, StepFile};

    const UNCHANGED: i32 = 0;
    const WRITTEN: i32 = 1;
    const DELETED: i32 = 2;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plan_file")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub plan_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub step: i32,
        pub project_id: Uuid,
        #[sea_orm(column_type = "Text")]
        pub path: String,
        pub kind: i32,
        #[sea_orm(column_type = "Text")]
        pub content: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn read(self) -> Result<StepFile, Error> {
            let content = match self.kind {
                UNCHANGED => FileContent::Unchanged,
                WRITTEN => FileContent::Written(self.content),
                DELETED => FileContent::Deleted,
                kind => return Err(Error::Corrupt(format!("the kind {kind} of a plan's file"))),
            };
            Ok(StepFile { step: self.step.unsigned_abs(), path: self.path, content })
        }

        pub(crate) fn write(plan: &Plan, file: &StepFile) -> Model {
            let (kind, content) = match &file.content {
                FileContent::Unchanged => (UNCHANGED, String::new()),
                FileContent::Written(text) => (WRITTEN, text.clone()),
                FileContent::Deleted => (DELETED, String::new()),
            };
            Model {
                plan_id: plan.id,
                version: i32::try_from(plan.version).unwrap_or(i32::MAX),
                step: i32::try_from(file.step).unwrap_or(i32::MAX),
                project_id: plan.project_id,
                path: file.path.clone(),
                kind,
                content,
            }
        }
    }
}
