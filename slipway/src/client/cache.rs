//! `slipway inference cache`

use slipway_proto::inference::{ClearCacheRequest, GetCacheStatsRequest};

use super::Api;
use crate::args::Cache;
use crate::output::{Out, bytes, count};

/// Shows what is kept for the project, or forgets it.
pub(crate) async fn cache(api: &Api, out: &Out, command: Cache) -> anyhow::Result<()> {
    match command {
        Cache::Stats => stats(api, out).await,
        Cache::Clear => {
            let answer = api.cache.clone().clear_cache(ClearCacheRequest {}).await?.into_inner();
            if out.json("inference.v1.ClearCacheResponse", &answer)? {
                return Ok(());
            }
            out.line(format!("{} forgotten", count(answer.cleared, "answer")))
        }
    }
}

async fn stats(api: &Api, out: &Out) -> anyhow::Result<()> {
    let stats = api.cache.clone().get_cache_stats(GetCacheStatsRequest {}).await?.into_inner();
    if out.json("inference.v1.GetCacheStatsResponse", &stats)? {
        return Ok(());
    }
    if !stats.enabled {
        out.note("the server keeps no answers: inference.cache.ttl_seconds is 0");
    }
    let helped = stats.hits + stats.shared + stats.semantic_hits;
    let calls = helped + stats.misses;
    let rate = (helped * 100).checked_div(calls).map(|percent| format!(", {percent} % of {calls}")).unwrap_or_default();
    out.line(format!("kept      {} ({})", count(stats.entries, "answer"), bytes(stats.bytes)))?;
    out.line(format!("answered  {helped} without a call{rate}"))?;
    out.line(format!("          {} kept, {} shared, {} by meaning", stats.hits, stats.shared, stats.semantic_hits))
}
