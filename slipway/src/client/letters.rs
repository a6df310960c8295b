//! `slipway dead-letters`

use slipway_proto::operations::redrive_dead_letters_request::Target;
use slipway_proto::operations::{
    DeadLetter, DeleteDeadLetterRequest, ListDeadLettersRequest, ListDeadLettersResponse, RedriveDeadLettersRequest,
};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::Api;
use crate::args::{DeadLetters, Service};
use crate::output::{Out, count, time};
use crate::suite::STATEFUL;

const PAGE: u32 = 1000;
/// What is shown of a reason; `--json` has all of it.
const SHOWN: usize = 300;

/// Lists dead letters, or does something about them.
pub(crate) async fn letters(api: &Api, out: &Out, command: DeadLetters) -> anyhow::Result<()> {
    match command {
        DeadLetters::List { service, kind } => list(api, out, service, kind).await,
        DeadLetters::Redrive { service, id, kind } => {
            let target = id.map(Target::DeadLetterId).or(kind.map(Target::Kind));
            let request = about(service, RedriveDeadLettersRequest { target });
            let answer = api.operations.clone().redrive_dead_letters(request).await?.into_inner();
            if out.json("operations.v1.RedriveDeadLettersResponse", &answer)? {
                return Ok(());
            }
            out.line(format!("{} redriven", count(answer.redriven_count, "dead letter")))
        }
        DeadLetters::Delete { service, id, yes: _ } => {
            let request = about(service, DeleteDeadLetterRequest { dead_letter_id: id.clone() });
            let answer = api.operations.clone().delete_dead_letter(request).await?.into_inner();
            if out.json("operations.v1.DeleteDeadLetterResponse", &answer)? {
                return Ok(());
            }
            out.line(format!("{id} is deleted"))
        }
    }
}

/// A service that cannot be asked does not hide the letters of the others.
async fn list(api: &Api, out: &Out, service: Option<Service>, kind: String) -> anyhow::Result<()> {
    let mut all = ListDeadLettersResponse::default();
    let mut failed = None;
    for service in STATEFUL.into_iter().filter(|one| service.is_none_or(|only| only == *one)) {
        match of_service(api, service, &kind).await {
            Ok(letters) => all.dead_letters.extend(letters),
            Err(status) => {
                out.note(format!("{} was not asked: {}", service.name(), status.message()));
                failed = Some(status);
            }
        }
    }
    if !out.json("operations.v1.ListDeadLettersResponse", &all)? {
        show(out, &all.dead_letters)?;
    }
    failed.map_or(Ok(()), |status| Err(status.into()))
}

async fn of_service(api: &Api, service: Service, kind: &str) -> Result<Vec<DeadLetter>, tonic::Status> {
    let (mut letters, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest { kind: kind.to_owned(), page_size: PAGE, page_token };
        let page = api.operations.clone().list_dead_letters(about(service, request)).await?.into_inner();
        letters.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(letters);
        }
    }
}

/// Two lines each: an id must stay whole, to be copied, and a reason is long.
fn show(out: &Out, letters: &[DeadLetter]) -> anyhow::Result<()> {
    if letters.is_empty() {
        return out.line("no dead letters");
    }
    for letter in letters {
        let died = letter.death_time.or(letter.create_time);
        let (tries, kind) = (letter.attempts, out.paint.bold(&letter.kind));
        out.line(format!("{}  {:<12}  {}  {kind}  tries: {tries}", letter.id, letter.service, time(died.as_ref())))?;
        let why: String = letter.last_error.chars().take(SHOWN).collect();
        out.line(out.paint.dim(format!("    {why}")))?;
    }
    Ok(())
}

/// A call that is about `service`.
fn about<T>(service: Service, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("slipway-service", MetadataValue::from_static(service.name()));
    request
}
