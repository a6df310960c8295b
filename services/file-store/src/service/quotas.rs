//! How much may be kept: of a file before anything is written, of a workspace and a project in the transaction that adds to it.

use std::collections::HashSet;

use slipway_rpc::ProjectId;

use crate::error::Error;
use crate::model::{Manifest, Revision};
use crate::settings::QuotaSettings;

/// The quotas in force, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quotas {
    file: u64,
    workspace: u64,
    project: u64,
}

impl Quotas {
    pub(super) fn new(settings: &QuotaSettings) -> Self {
        let bytes = |mib: u64| mib.saturating_mul(1 << 20);
        Self { file: bytes(settings.file_mib), workspace: bytes(settings.workspace_mib), project: bytes(settings.project_mib) }
    }

    /// The bytes of the contents that `after` has and `before` has not, each once. A new one that is too large is refused.
    pub(super) fn check_files(&self, before: &Manifest, after: &Manifest) -> Result<u64, Error> {
        let mut known: HashSet<_> = before.entries().iter().map(|entry| entry.hash).collect();
        let mut brought = 0;
        for entry in after.entries() {
            if !known.insert(entry.hash) {
                continue;
            }
            if entry.size > self.file {
                return Err(exceeded("file", entry.path.clone(), entry.size, self.file));
            }
            brought += entry.size;
        }
        Ok(brought)
    }

    pub(super) fn check_usage(
        &self,
        made: &Revision,
        project: ProjectId,
        of_workspace: u64,
        of_project: u64,
    ) -> Result<(), Error> {
        if of_workspace > self.workspace {
            return Err(exceeded("workspace", made.workspace_id.to_string(), of_workspace, self.workspace));
        }
        if of_project > self.project {
            return Err(exceeded("project", project.to_string(), of_project, self.project));
        }
        Ok(())
    }
}

fn exceeded(quota: &'static str, subject: String, bytes: u64, limit: u64) -> Error {
    Error::Quota { quota, subject, bytes, limit }
}
