//! Kept answers: what a caller wants of them, and what is told of them.

use slipway_proto::inference as pb;
use slipway_rpc::Check;

use crate::cache::Stats;
use crate::model::{CacheHit, CachePolicy, HitKind};

/// What a prompt says of kept answers.
pub(super) fn policy(check: &mut Check, policy: i32) -> CachePolicy {
    match pb::CachePolicy::try_from(policy) {
        Ok(pb::CachePolicy::Unspecified | pb::CachePolicy::Default) => CachePolicy::Default,
        Ok(pb::CachePolicy::Bypass) => CachePolicy::Bypass,
        Ok(pb::CachePolicy::Refresh) => CachePolicy::Refresh,
        Ok(pb::CachePolicy::Semantic) => CachePolicy::Semantic,
        Err(_) => {
            check.fail("prompt.cache", "is not a known value");
            CachePolicy::Default
        }
    }
}

/// Where an answer came from.
pub(super) fn hit(hit: CacheHit) -> pb::CacheHit {
    let kind = match hit.kind {
        HitKind::Exact => pb::CacheHitKind::Exact,
        HitKind::Shared => pb::CacheHitKind::Shared,
        HitKind::Semantic => pb::CacheHitKind::Semantic,
    };
    pb::CacheHit { kind: kind.into(), age_seconds: hit.age.as_secs(), similarity: hit.similarity }
}

/// What is kept, and how often it helped.
pub(crate) fn stats(stats: Stats) -> pb::GetCacheStatsResponse {
    let Stats { enabled, entries, bytes, hits, shared, semantic: semantic_hits, misses } = stats;
    pb::GetCacheStatsResponse { enabled, entries, bytes, hits, shared, misses, semantic_hits }
}

/// How much was forgotten.
pub(crate) fn cleared(cleared: u64) -> pb::ClearCacheResponse {
    pb::ClearCacheResponse { cleared }
}
