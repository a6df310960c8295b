//! Batches: many prompts in, one result for each out.

use slipway_proto::inference as pb;
use slipway_proto::inference::batch_complete_response::Result as Outcome;
use slipway_rpc::{Check, Fault};

use super::{completion, prompt};
use crate::service::{Asked, Item};

const MAX_PROMPTS: usize = 100;

/// The prompts; one that is wrong has its error, and the others go on.
pub(crate) fn batch(request: pb::BatchCompleteRequest) -> Result<Vec<Result<Asked, Fault>>, Fault> {
    let mut check = Check::new();
    check.ensure(!request.prompts.is_empty(), "prompts", "is required");
    check.ensure(request.prompts.len() <= MAX_PROMPTS, "prompts", format!("has more than {MAX_PROMPTS} prompts"));
    check.finish()?;
    Ok(request.prompts.into_iter().map(|p| prompt(Some(p))).collect())
}

/// What came of a prompt.
pub(crate) fn item(item: Item) -> pb::BatchCompleteResponse {
    let result = match item.result {
        Ok((whole, journal)) => Outcome::Completion(completion(whole, &journal)),
        Err(fault) => Outcome::Error(error(&fault)),
    };
    pb::BatchCompleteResponse { index: u32::try_from(item.index).unwrap_or(u32::MAX), result: Some(result) }
}

fn error(fault: &Fault) -> pb::BatchError {
    pb::BatchError {
        code: fault.code().into(),
        reason: fault.reason_name().to_owned(),
        message: fault.message().to_owned(),
        metadata: fault.metadata().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        retry_after_ms: fault.delay().map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        fields: fault.violations().iter().map(|v| (v.field.clone(), v.description.clone())).collect(),
    }
}
