//! `OperationsService`: which service a call is about, and what it asks for.

use serde::{Deserialize, Serialize};
use slipway_proto::operations as proto;
use slipway_proto::operations::operations_service_server::OperationsService;
use slipway_proto::operations::redrive_dead_letters_request::Target;
use slipway_rpc::{Check, Ctx, Fault, Reason, status, timestamp};
use slipway_storage::dead_letters::{self, DeadLetter};
use slipway_storage::{Store, page};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{SERVICE_HEADER, Stores};

const MAX_KIND: usize = 100;
const MAX_PAGE_TOKEN: usize = 2000;

/// The service, for all stores of this process.
pub(crate) struct Rpc(pub(crate) Stores);

/// Where a listing goes on.
#[derive(Deserialize, Serialize)]
struct Cursor {
    after: Uuid,
}

impl Rpc {
    /// The store that the call is about, by its header.
    fn store<T>(&self, request: &Request<T>) -> Result<(String, Store), Fault> {
        let named = request.metadata().get(SERVICE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let found = self.0.find(named).map(|store| (named.to_owned(), store));
        found.ok_or_else(|| {
            let mut check = Check::new();
            check.fail(SERVICE_HEADER, format!("must name one of {}", self.0.names().join(", ")));
            check.finish().err().unwrap_or_else(|| Fault::new(Reason::FieldInvalid, "no service is named"))
        })
    }
}

#[tonic::async_trait]
impl OperationsService for Rpc {
    async fn list_dead_letters(
        &self,
        request: Request<proto::ListDeadLettersRequest>,
    ) -> Result<Response<proto::ListDeadLettersResponse>, Status> {
        let (ctx, (service, store)) = (Ctx::of(&request)?, self.store(&request)?);
        list(&ctx, &service, &store, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<proto::RedriveDeadLettersRequest>,
    ) -> Result<Response<proto::RedriveDeadLettersResponse>, Status> {
        let (ctx, (service, store)) = (Ctx::of(&request)?, self.store(&request)?);
        let redriven_count = redrive(&ctx, &store, request.into_inner().target).await.map_err(status)?;
        tracing::info!(service, user = %ctx.caller.user, redriven_count, "dead letters are redriven");
        Ok(Response::new(proto::RedriveDeadLettersResponse { redriven_count }))
    }

    async fn delete_dead_letter(
        &self,
        request: Request<proto::DeleteDeadLetterRequest>,
    ) -> Result<Response<proto::DeleteDeadLetterResponse>, Status> {
        let (ctx, (service, store)) = (Ctx::of(&request)?, self.store(&request)?);
        let id = letter_id(&request.into_inner().dead_letter_id)?;
        if !dead_letters::delete(&store, ctx.project.0, id).await.map_err(status)? {
            return Err(not_found().into());
        }
        tracing::info!(service, user = %ctx.caller.user, dead_letter_id = %id, "a dead letter is deleted");
        Ok(Response::new(proto::DeleteDeadLetterResponse {}))
    }
}

async fn list(
    ctx: &Ctx,
    service: &str,
    store: &Store,
    request: proto::ListDeadLettersRequest,
) -> Result<proto::ListDeadLettersResponse, Fault> {
    let mut check = Check::new();
    let kind = check.text("kind", &request.kind, 0, MAX_KIND);
    let size = check.page_size("page_size", request.page_size, 50, 1_000);
    let token = check.text("page_token", &request.page_token, 0, MAX_PAGE_TOKEN);
    check.finish()?;
    let scope = format!("ListDeadLetters/{service}/{}/{kind}", ctx.project);
    let after = match token.as_str() {
        "" => None,
        token => Some(page::decode::<Cursor>(&scope, token).ok_or_else(bad_token)?.after),
    };
    let of_kind = Some(kind.as_str()).filter(|kind| !kind.is_empty());
    let mut letters = dead_letters::list(store, ctx.project.0, of_kind, after, size + 1).await.map_err(Fault::from)?;
    let more = letters.len() > size as usize;
    letters.truncate(size as usize);
    let last = letters.last().filter(|_| more);
    let next_page_token = last.map(|last| page::encode(&scope, &Cursor { after: last.id })).unwrap_or_default();
    Ok(proto::ListDeadLettersResponse {
        dead_letters: letters.into_iter().map(|letter| encode(service, letter)).collect(),
        next_page_token,
    })
}

async fn redrive(ctx: &Ctx, store: &Store, target: Option<Target>) -> Result<u64, Fault> {
    match target {
        Some(Target::DeadLetterId(id)) => {
            let found = dead_letters::redrive(store, ctx.project.0, letter_id(&id)?).await.map_err(Fault::from)?;
            if found { Ok(1) } else { Err(not_found()) }
        }
        Some(Target::Kind(kind)) => {
            let mut check = Check::new();
            let kind = check.text("kind", &kind, 1, MAX_KIND);
            check.finish()?;
            dead_letters::redrive_kind(store, ctx.project.0, &kind).await.map_err(Fault::from)
        }
        None => {
            let mut check = Check::new();
            check.fail("target", "is required: a dead_letter_id or a kind");
            check.finish().map(|()| 0)
        }
    }
}

fn letter_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("dead_letter_id", id);
    check.finish().map(|()| id)
}

fn encode(service: &str, letter: DeadLetter) -> proto::DeadLetter {
    proto::DeadLetter {
        id: letter.id.to_string(),
        kind: letter.kind,
        key: letter.key,
        attempts: letter.attempts,
        last_error: letter.last_error,
        create_time: Some(timestamp(letter.create_time)),
        death_time: letter.death_time.map(timestamp),
        traceparent: letter.traceparent,
        service: service.to_owned(),
    }
}

fn not_found() -> Fault {
    Fault::new(Reason::DeadLetterNotFound, "the service has no such dead letter; it may have been redriven or deleted already")
}

fn bad_token() -> Fault {
    Fault::new(Reason::PageTokenInvalid, "the page token is not one of this list; begin without one")
}
