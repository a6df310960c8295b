//! The rows of the tables, and how they become the model and back.

pub(super) mod uploads;

use crate::error::Error;
use crate::model::{Delta, Kept};

/// Numbers of the model are never that large.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_u64(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Corrupt("a number is negative"))
}

/// A hash as the tables hold it.
pub(super) fn parse_hash(hex: &str) -> Result<blake3::Hash, Error> {
    blake3::Hash::from_hex(hex).map_err(|_| Error::Corrupt("a stored hash is not one"))
}

fn kept(hash: &str, root: Option<&str>, delta: Option<Vec<u8>>) -> Result<Kept, Error> {
    let delta = match (root, delta) {
        (None, None) => None,
        (Some(root), Some(packed)) => Some(Delta { root: parse_hash(root)?, packed: packed.into() }),
        _ => return Err(Error::Corrupt("a manifest has a delta or a root without the other")),
    };
    Ok(Kept { hash: parse_hash(hash)?, delta })
}

pub(super) fn root_hash(kept: &Kept) -> Option<String> {
    kept.delta.as_ref().map(|delta| delta.root.to_hex().to_string())
}

pub(super) fn delta(kept: &Kept) -> Option<Vec<u8>> {
    kept.delta.as_ref().map(|delta| delta.packed.to_vec())
}

/// The table `workspace`.
pub(super) mod workspace {
    use sea_orm::ActiveValue::Set;
    use sea_orm::entity::prelude::*;

    use super::{to_i64, to_u64};
    use crate::error::Error;
    use crate::model::{Head, Workspace};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workspace")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) project_id: Uuid,
        pub(super) name: String,
        pub(super) head_revision_id: Option<Uuid>,
        /// 0 while there is none.
        pub(super) head_number: i64,
        /// What its revisions brought, in bytes.
        pub(crate) stored_bytes: i64,
        pub(super) create_time: i64,
        pub(super) update_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn into_workspace(self) -> Result<Workspace, Error> {
            let number = to_u64(self.head_number)?;
            Ok(Workspace {
                id: self.id,
                project_id: self.project_id,
                name: self.name,
                head: self.head_revision_id.map(|revision_id| Head { revision_id, number }),
                create_time: self.create_time,
                update_time: self.update_time,
            })
        }
    }

    impl ActiveModel {
        pub(crate) fn of(workspace: &Workspace) -> Self {
            Self {
                id: Set(workspace.id),
                project_id: Set(workspace.project_id),
                name: Set(workspace.name.clone()),
                head_revision_id: Set(workspace.head.map(|head| head.revision_id)),
                head_number: Set(to_i64(workspace.head.map_or(0, |head| head.number))),
                stored_bytes: Set(0),
                create_time: Set(workspace.create_time),
                update_time: Set(workspace.update_time),
            }
        }
    }
}

/// The table `revision`.
pub(super) mod revision {
    use sea_orm::ActiveValue::Set;
    use sea_orm::entity::prelude::*;
    use slipway_rpc::ProjectId;

    use super::{delta, kept, root_hash, to_i64, to_u64};
    use crate::error::Error;
    use crate::model::{Revision, RevisionKind};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "revision")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) project_id: Uuid,
        pub(super) workspace_id: Uuid,
        pub(super) number: i64,
        pub(super) parent_id: Option<Uuid>,
        pub(super) kind: i16,
        pub(super) message: String,
        pub(super) author_id: Uuid,
        /// The manifest's BLAKE3 hash in hex: the name of the blob that lists the files, unless there is a delta.
        pub(super) hash: String,
        pub(super) file_count: i64,
        pub(super) total_bytes: i64,
        pub(super) restored_from_id: Option<Uuid>,
        pub(super) plan_id: Option<Uuid>,
        pub(super) merged_base_id: Option<Uuid>,
        pub(super) create_time: i64,
        /// How many places look like a secret; nothing: nobody has looked.
        pub(super) secret_count: Option<i32>,
        /// The manifest that the delta is about; nothing: the manifest is a blob itself.
        pub(super) root_hash: Option<String>,
        pub(super) delta: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn into_revision(self) -> Result<Revision, Error> {
            Ok(Revision {
                id: self.id,
                workspace_id: self.workspace_id,
                number: to_u64(self.number)?,
                parent_id: self.parent_id,
                kind: RevisionKind::from_number(self.kind).ok_or(Error::Corrupt("a revision's kind is unknown"))?,
                message: self.message,
                author_id: self.author_id,
                manifest: kept(&self.hash, self.root_hash.as_deref(), self.delta)?,
                file_count: to_u64(self.file_count)?,
                total_bytes: to_u64(self.total_bytes)?,
                restored_from_id: self.restored_from_id,
                plan_id: self.plan_id,
                merged_base_id: self.merged_base_id,
                create_time: self.create_time,
                secrets: self.secret_count.map(i32::unsigned_abs),
            })
        }
    }

    impl ActiveModel {
        pub(crate) fn of(project: ProjectId, revision: &Revision) -> Self {
            Self {
                id: Set(revision.id),
                project_id: Set(project.0),
                workspace_id: Set(revision.workspace_id),
                number: Set(to_i64(revision.number)),
                parent_id: Set(revision.parent_id),
                kind: Set(revision.kind as i16),
                message: Set(revision.message.clone()),
                author_id: Set(revision.author_id),
                hash: Set(revision.manifest.hash.to_hex().to_string()),
                file_count: Set(to_i64(revision.file_count)),
                total_bytes: Set(to_i64(revision.total_bytes)),
                restored_from_id: Set(revision.restored_from_id),
                plan_id: Set(revision.plan_id),
                merged_base_id: Set(revision.merged_base_id),
                create_time: Set(revision.create_time),
                secret_count: Set(revision.secrets.map(|n| i32::try_from(n).unwrap_or(i32::MAX))),
                root_hash: Set(root_hash(&revision.manifest)),
                delta: Set(delta(&revision.manifest)),
            }
        }
    }
}

/// The table `overlay`.
pub(super) mod overlay {
    use sea_orm::ActiveValue::Set;
    use sea_orm::entity::prelude::*;
    use slipway_rpc::ProjectId;

    use super::{delta, kept, root_hash, to_i64, to_u64};
    use crate::error::Error;
    use crate::model::{Head, Overlay};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "overlay")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) project_id: Uuid,
        pub(super) workspace_id: Uuid,
        pub(super) base_revision_id: Option<Uuid>,
        /// 0 while there was no revision.
        pub(super) base_number: i64,
        pub(super) name: String,
        pub(super) author_id: Uuid,
        pub(super) version: i64,
        /// The manifest's BLAKE3 hash in hex, as of a revision.
        pub(super) hash: String,
        pub(super) file_count: i64,
        pub(super) total_bytes: i64,
        pub(super) create_time: i64,
        pub(super) update_time: i64,
        pub(super) expire_time: i64,
        /// As of a revision.
        pub(super) root_hash: Option<String>,
        pub(super) delta: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn into_overlay(self) -> Result<Overlay, Error> {
            let number = to_u64(self.base_number)?;
            Ok(Overlay {
                id: self.id,
                workspace_id: self.workspace_id,
                base: self.base_revision_id.map(|revision_id| Head { revision_id, number }),
                name: self.name,
                author_id: self.author_id,
                version: to_u64(self.version)?,
                manifest: kept(&self.hash, self.root_hash.as_deref(), self.delta)?,
                file_count: to_u64(self.file_count)?,
                total_bytes: to_u64(self.total_bytes)?,
                create_time: self.create_time,
                update_time: self.update_time,
                expire_time: self.expire_time,
            })
        }
    }

    impl ActiveModel {
        pub(crate) fn of(project: ProjectId, overlay: &Overlay) -> Self {
            Self {
                id: Set(overlay.id),
                project_id: Set(project.0),
                workspace_id: Set(overlay.workspace_id),
                base_revision_id: Set(overlay.base.map(|base| base.revision_id)),
                base_number: Set(to_i64(overlay.base.map_or(0, |base| base.number))),
                name: Set(overlay.name.clone()),
                author_id: Set(overlay.author_id),
                version: Set(to_i64(overlay.version)),
                hash: Set(overlay.manifest.hash.to_hex().to_string()),
                file_count: Set(to_i64(overlay.file_count)),
                total_bytes: Set(to_i64(overlay.total_bytes)),
                create_time: Set(overlay.create_time),
                update_time: Set(overlay.update_time),
                expire_time: Set(overlay.expire_time),
                root_hash: Set(root_hash(&overlay.manifest)),
                delta: Set(delta(&overlay.manifest)),
            }
        }
    }
}

/// The table `secret_report`: what was found in the files of a manifest.
pub(super) mod secret_report {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "secret_report")]
    pub(crate) struct Model {
        /// The manifest's.
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) hash: String,
        /// As JSON.
        pub(crate) report: String,
        pub(crate) create_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `document_text`: what the text of documents is.
pub(super) mod document_text {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "document_text")]
    pub(crate) struct Model {
        /// The content's.
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) hash: String,
        /// The name of the format that it was read in.
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) format: String,
        /// Of the readers.
        pub(crate) version: i16,
        pub(crate) text: String,
        pub(crate) truncated: bool,
        /// Why there is no text.
        pub(crate) failure: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `project_usage`: what the workspaces of a project have together.
pub(super) mod project_usage {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "project_usage")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) project_id: Uuid,
        pub(crate) stored_bytes: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `garbage`: blobs that nothing seemed to refer to.
pub(super) mod garbage {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "garbage")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) hash: String,
        /// 0: marked, 1: condemned.
        pub(crate) state: i16,
        /// Bytes.
        pub(crate) size: i64,
        pub(crate) mark_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `collection`: one row, the state of garbage collection.
pub(super) mod collection {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "collection")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: i16,
        /// Counts the condemnations.
        pub(crate) epoch: i64,
        /// Whether blobs are condemned now.
        pub(crate) sweeping: bool,
        /// Counts the collections that have ended.
        pub(crate) finished: i64,
        pub(crate) end_time: i64,
        /// What the last one did, as JSON.
        pub(crate) report: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
