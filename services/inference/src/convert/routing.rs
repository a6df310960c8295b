//! What was tried for a call, and how providers are.

use std::time::Duration;

use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::error::Kind;
use crate::model::{Charge, Fallback, Seam};
use crate::route::{Attempt, Outcome, Standing};
use crate::service::{ListedProvider, ListedProviders};

const MAX_FALLBACKS: usize = 8;

/// What a prompt says of other models.
pub(super) fn fallback(check: &mut Check, prompt: &pb::Prompt, max_model: usize) -> Fallback {
    let models = &prompt.fallback_models;
    check.ensure(models.len() <= MAX_FALLBACKS, "prompt.fallback_models", format!("has more than {MAX_FALLBACKS} models"));
    for (n, model) in models.iter().enumerate().take(MAX_FALLBACKS) {
        check.text(&format!("prompt.fallback_models[{n}]"), model, 1, max_model);
    }
    let goes_on = match pb::FallbackPolicy::try_from(prompt.fallback_policy) {
        Ok(pb::FallbackPolicy::Unspecified | pb::FallbackPolicy::Never) => false,
        Ok(pb::FallbackPolicy::Continue) => true,
        Err(_) => {
            check.fail("prompt.fallback_policy", "is not a known value");
            false
        }
    };
    Fallback { models: models.clone(), goes_on, when_refused: prompt.fallback_when_refused }
}

/// Everything that was tried.
pub(super) fn attempts(attempts: Vec<Attempt>) -> Vec<pb::Attempt> {
    attempts.into_iter().map(attempt).collect()
}

fn attempt(attempt: Attempt) -> pb::Attempt {
    let (failure, message, retry_after) = match attempt.outcome {
        Outcome::Open | Outcome::Answered => (String::new(), String::new(), None),
        Outcome::Failed { kind, message, retry_after } => (reason(kind), message, retry_after),
    };
    pb::Attempt {
        model: attempt.model.to_string(),
        key_index: attempt.key as u32,
        start_time: Some(timestamp(attempt.started)),
        duration_ms: millis(attempt.took),
        first_token_ms: attempt.first_token.map(millis),
        failure,
        message,
        retry_after_ms: retry_after.map(millis).unwrap_or_default(),
        usage: attempt.usage.map(|usage| super::usage(usage, &Charge::default())),
    }
}

/// Where another model went on.
pub(super) fn seam(seam: Seam) -> pb::Seam {
    pb::Seam {
        failed_model: seam.failed.to_string(),
        model: seam.model.to_string(),
        reason: reason(seam.kind),
        text_offset: seam.offset,
    }
}

/// The page that a list of providers is for.
pub(crate) fn list_providers(request: pb::ListProvidersRequest) -> Result<(u32, String), Fault> {
    let mut check = Check::new();
    let size = super::listing::page(&mut check, request.page_size, &request.page_token);
    check.finish()?;
    Ok((size, request.page_token))
}

/// A page of providers.
pub(crate) fn providers(listed: ListedProviders) -> pb::ListProvidersResponse {
    let now = Now { wall: OffsetDateTime::now_utc(), clock: Instant::now() };
    let providers = listed.providers.into_iter().map(|p| provider(p, &now)).collect();
    pb::ListProvidersResponse { providers, next_page_token: listed.next_page_token }
}

struct Now {
    wall: OffsetDateTime,
    clock: Instant,
}

fn provider(listed: ListedProvider, now: &Now) -> pb::Provider {
    let key = |(index, standing): (usize, Standing)| {
        let (state, ejected_until, reason) = state(standing, now);
        pb::ProviderKey { index: index as u32, state: state.into(), ejected_until, reason }
    };
    let (state, ejected_until, reason) = state(listed.standing, now);
    pb::Provider {
        name: listed.name,
        kind: listed.kind,
        state: state.into(),
        ejected_until,
        reason,
        keys: listed.keys.into_iter().enumerate().map(key).collect(),
        model_count: listed.models as u32,
    }
}

fn state(standing: Standing, now: &Now) -> (pb::ProviderState, Option<prost_types::Timestamp>, String) {
    match standing {
        Standing::Closed => (pb::ProviderState::Healthy, None, String::new()),
        Standing::Probing { kind } => (pb::ProviderState::Probing, None, reason(kind)),
        Standing::Open { until, kind } => {
            let until = now.wall + until.saturating_duration_since(now.clock);
            (pb::ProviderState::Ejected, Some(timestamp(until)), reason(kind))
        }
    }
}

fn reason(kind: Kind) -> String {
    Fault::new(kind.reason(), "").reason_name().to_owned()
}

fn timestamp(at: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.unix_timestamp(), nanos: at.nanosecond() as i32 }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallback_models_are_checked() {
        let fields = |prompt: pb::Prompt| {
            let mut check = Check::new();
            let fallback = fallback(&mut check, &prompt, 200);
            let fields = check.finish().err().map(|f| f.violations().iter().map(|v| v.field.clone()).collect::<Vec<_>>());
            (fallback, fields.unwrap_or_default())
        };
        let good = pb::Prompt { fallback_models: vec!["a/b".into()], fallback_policy: 2, ..Default::default() };
        let wanted = Fallback { models: vec!["a/b".into()], goes_on: true, when_refused: false };
        assert_eq!(fields(good), (wanted, vec![]));
        let many = pb::Prompt { fallback_models: vec!["a/b".into(); 9], ..Default::default() };
        assert_eq!(fields(many).1, ["prompt.fallback_models"]);
        let bad = pb::Prompt { fallback_models: vec![String::new()], fallback_policy: 9, ..Default::default() };
        assert_eq!(fields(bad).1, ["prompt.fallback_models[0]", "prompt.fallback_policy"]);
    }

    #[test]
    fn reasons_are_told_by_their_names() {
        assert_eq!(reason(Kind::Overloaded), "PROVIDER_OVERLOADED");
        assert_eq!(reason(Kind::Permission), "PROVIDER_PERMISSION_DENIED");
    }
}
