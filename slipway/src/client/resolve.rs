//! Names and numbers for ids: a workspace by its name, a revision by its number.

use slipway_proto::filestore::{
    DiffRevisionsRequest, FileDiff, GetRevisionRequest, GetWorkspaceRequest, ListRevisionsRequest, ListWorkspacesRequest,
    Revision, Workspace,
};
use uuid::Uuid;

use super::{Api, required};
use crate::error::Failure;

const PAGE: u32 = 1000;

/// Which revision a command is about.
pub(crate) enum Rev<'a> {
    /// The newest.
    Head,
    /// A number or an id.
    Named(&'a str),
}

impl<'a> Rev<'a> {
    /// What an option says.
    pub(crate) fn of(option: &'a Option<String>) -> Self {
        match option.as_deref() {
            None | Some("head" | "HEAD") => Self::Head,
            Some(text) => Self::Named(text),
        }
    }
}

impl Api {
    /// The workspace with this id, or the only one with this name.
    pub(crate) async fn workspace(&self, name: &str) -> anyhow::Result<Workspace> {
        if Uuid::parse_str(name).is_ok() {
            let request = GetWorkspaceRequest { workspace_id: name.to_owned() };
            return required(self.files.clone().get_workspace(request).await?.into_inner().workspace, "workspace");
        }
        let mut found: Vec<_> = self.workspaces().await?.into_iter().filter(|w| w.name == name).collect();
        if found.len() > 1 {
            let ids: Vec<_> = found.iter().map(|w| w.id.as_str()).collect();
            return Err(Failure::usage(format!(
                "{} workspaces are called \"{name}\"; name one by its id: {}",
                ids.len(),
                ids.join(", ")
            ))
            .into());
        }
        found.pop().ok_or_else(|| {
            Failure::not_found(format!("no workspace is called \"{name}\"; `slipway workspace list` shows all")).into()
        })
    }

    /// All workspaces, the newest first.
    pub(crate) async fn workspaces(&self) -> anyhow::Result<Vec<Workspace>> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListWorkspacesRequest { page_size: PAGE, page_token };
            let page = self.files.clone().list_workspaces(request).await?.into_inner();
            all.extend(page.workspaces);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All revisions, the newest first.
    pub(crate) async fn revisions(&self, workspace: &Workspace) -> anyhow::Result<Vec<Revision>> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListRevisionsRequest { workspace_id: workspace.id.clone(), page_size: PAGE, page_token };
            let page = self.files.clone().list_revisions(request).await?.into_inner();
            all.extend(page.revisions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// The id of a revision; empty for the head.
    pub(crate) async fn revision_id(&self, workspace: &Workspace, rev: Rev<'_>) -> anyhow::Result<String> {
        match rev {
            Rev::Head => Ok(String::new()),
            Rev::Named(text) => Ok(self.revision(workspace, Rev::Named(text)).await?.id),
        }
    }

    /// A revision by its number or id.
    pub(crate) async fn revision(&self, workspace: &Workspace, rev: Rev<'_>) -> anyhow::Result<Revision> {
        let revision_id = match rev {
            Rev::Head => String::new(),
            Rev::Named(text) => match text.parse::<u64>() {
                Ok(number) => return self.numbered(workspace, number).await,
                Err(_) => text.to_owned(),
            },
        };
        let request = GetRevisionRequest { workspace_id: workspace.id.clone(), revision_id };
        required(self.files.clone().get_revision(request).await?.into_inner().revision, "revision")
    }

    async fn numbered(&self, workspace: &Workspace, number: u64) -> anyhow::Result<Revision> {
        let found = self.revisions(workspace).await?.into_iter().find(|r| r.number == number);
        found.ok_or_else(|| {
            Failure::not_found(format!(
                "\"{}\" has no revision {number}; its newest is {}",
                workspace.name, workspace.head_number
            ))
            .into()
        })
    }
}

/// All pages of a comparison.
pub(crate) async fn diff_all(api: &Api, workspace_id: &str, from: &str, to: &str, context: u32) -> anyhow::Result<Vec<FileDiff>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = DiffRevisionsRequest {
            workspace_id: workspace_id.to_owned(),
            from_revision_id: from.to_owned(),
            to_revision_id: to.to_owned(),
            context_lines: Some(context),
            page_token,
            ..Default::default()
        };
        let page = api.files.clone().diff_revisions(request).await?.into_inner();
        all.extend(page.files);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}
