//! `slipway.filestore.v1.OverlayService`: decode, call the use case, encode.

use std::sync::Arc;

use slipway_proto::filestore as pb;
use slipway_proto::filestore::overlay_service_server::OverlayService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response};

use super::Answer;
use crate::convert;
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct Overlays {
    service: Arc<FileStore>,
}

impl Overlays {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl OverlayService for Overlays {
    async fn create_overlay(&self, request: Request<pb::CreateOverlayRequest>) -> Answer<pb::CreateOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let new = convert::create_overlay(request.into_inner()).map_err(status)?;
        let overlay = self.service.create_overlay(&ctx, new).await.map_err(status)?;
        Ok(Response::new(pb::CreateOverlayResponse { overlay: Some(convert::overlay(overlay)) }))
    }

    async fn get_overlay(&self, request: Request<pb::GetOverlayRequest>) -> Answer<pb::GetOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::overlay_id(&request.get_ref().overlay_id).map_err(status)?;
        let overlay = self.service.get_overlay(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::GetOverlayResponse { overlay: Some(convert::overlay(overlay)) }))
    }

    async fn list_overlays(&self, request: Request<pb::ListOverlaysRequest>) -> Answer<pb::ListOverlaysResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, page) = convert::list_overlays(request.into_inner()).map_err(status)?;
        let page = self.service.list_overlays(&ctx, workspace, page).await.map_err(status)?;
        let overlays = page.items.into_iter().map(convert::overlay).collect();
        Ok(Response::new(pb::ListOverlaysResponse { overlays, next_page_token: page.next }))
    }

    async fn change_overlay(&self, request: Request<pb::ChangeOverlayRequest>) -> Answer<pb::ChangeOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let change = convert::change_overlay(request.into_inner()).map_err(status)?;
        let overlay = self.service.change_overlay(&ctx, change).await.map_err(status)?;
        Ok(Response::new(pb::ChangeOverlayResponse { overlay: Some(convert::overlay(overlay)) }))
    }

    async fn delete_overlay(&self, request: Request<pb::DeleteOverlayRequest>) -> Answer<pb::DeleteOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::overlay_id(&request.get_ref().overlay_id).map_err(status)?;
        self.service.delete_overlay(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteOverlayResponse {}))
    }

    async fn preview_merge(&self, request: Request<pb::PreviewMergeRequest>) -> Answer<pb::PreviewMergeResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::overlay_id(&request.get_ref().overlay_id).map_err(status)?;
        let preview = self.service.preview_merge(&ctx, id).await.map_err(status)?;
        Ok(Response::new(convert::preview(preview)))
    }

    async fn commit_overlay(&self, request: Request<pb::CommitOverlayRequest>) -> Answer<pb::CommitOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let commit = convert::commit_overlay(request.into_inner()).map_err(status)?;
        let revision = self.service.commit_overlay(&ctx, commit).await.map_err(status)?;
        Ok(Response::new(pb::CommitOverlayResponse { revision: Some(convert::revision(revision)) }))
    }
}
