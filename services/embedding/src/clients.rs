//! The neighbour: file-store, which has the files that are indexed.

use slipway_proto::filestore::document_service_client::DocumentServiceClient;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::{
    FileEntry, GetDocumentTextRequest, GetWorkspaceRequest, ListFilesRequest, ReadFileRequest, read_file_response,
};
use slipway_rpc::{Channel, Ctx, Fault, Reason};
use tonic::Status;
use uuid::Uuid;

use crate::model::chunk::MAX_FILE_BYTES;

const PAGE: u32 = 5_000;

/// The newest revision of a workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Its id; `None` while there is no revision.
    pub(crate) revision: Option<Uuid>,
    /// Its number.
    pub(crate) number: u64,
}

/// The file store, as this service needs it; cheap to clone.
#[derive(Clone)]
pub(crate) struct Files {
    client: FileStoreServiceClient<Channel>,
    documents: DocumentServiceClient<Channel>,
}

impl Files {
    pub(crate) fn new(channel: Channel) -> Self {
        let documents = DocumentServiceClient::new(channel.clone());
        Self { client: FileStoreServiceClient::new(channel), documents }
    }

    /// The head of a workspace.
    pub(crate) async fn head(&self, ctx: &Ctx, workspace: Uuid) -> Result<Head, Fault> {
        let request = ctx.request(GetWorkspaceRequest { workspace_id: workspace.to_string() });
        let response = self.client.clone().get_workspace(request).await.map_err(fault)?.into_inner();
        let found = response.workspace.ok_or_else(|| malformed("a workspace"))?;
        if found.head_revision_id.is_empty() {
            return Ok(Head { revision: None, number: 0 });
        }
        let revision = found.head_revision_id.parse().map_err(|_| malformed("a revision id"))?;
        Ok(Head { revision: Some(revision), number: found.head_number })
    }

    /// All files of a revision, by path.
    pub(crate) async fn list(&self, ctx: &Ctx, workspace: Uuid, revision: Uuid) -> Result<Vec<FileEntry>, Fault> {
        let mut request = ListFilesRequest {
            workspace_id: workspace.to_string(),
            revision_id: revision.to_string(),
            page_size: PAGE,
            ..ListFilesRequest::default()
        };
        let mut files = Vec::new();
        loop {
            let response = self.client.clone().list_files(ctx.request(request.clone())).await.map_err(fault)?.into_inner();
            files.extend(response.files);
            if response.next_page_token.is_empty() {
                return Ok(files);
            }
            request.page_token = response.next_page_token;
        }
    }

    /// The text of a document, at most [`MAX_FILE_BYTES`] of it; none when it cannot be read.
    pub(crate) async fn text(&self, ctx: &Ctx, workspace: Uuid, revision: Uuid, path: &str) -> Result<String, Fault> {
        let request = GetDocumentTextRequest {
            workspace_id: workspace.to_string(),
            revision_id: revision.to_string(),
            path: path.to_owned(),
            ..GetDocumentTextRequest::default()
        };
        match self.documents.clone().get_document_text(ctx.request(request)).await.map_err(fault) {
            Ok(response) => Ok(response.into_inner().text),
            Err(fault) if fault.reason() == Reason::DocumentUnreadable => Ok(String::new()),
            Err(fault) => Err(fault),
        }
    }

    /// The bytes of a file; of one that is too large to be indexed, no more than show that.
    pub(crate) async fn read(&self, ctx: &Ctx, workspace: Uuid, revision: Uuid, path: &str) -> Result<Vec<u8>, Fault> {
        let request = ReadFileRequest {
            workspace_id: workspace.to_string(),
            revision_id: revision.to_string(),
            path: path.to_owned(),
            ..ReadFileRequest::default()
        };
        let mut stream = self.client.clone().read_file(ctx.request(request)).await.map_err(fault)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await.map_err(fault)? {
            if let Some(read_file_response::Part::Chunk(chunk)) = message.part {
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() as u64 > MAX_FILE_BYTES {
                break;
            }
        }
        Ok(bytes)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn fault(status: Status) -> Fault {
    Fault::from_status(&status)
}

fn malformed(what: &str) -> Fault {
    Fault::new(Reason::Internal, format!("the file store answered without {what}"))
}
