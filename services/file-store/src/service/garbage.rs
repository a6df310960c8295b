//! The use case of collecting garbage now.

use slipway_rpc::Ctx;

use super::FileStore;
use crate::error::Error;
use crate::garbage::Report;

impl FileStore {
    /// Removes what no revision refers to, on whichever replica has the lease. Gives what it did, and when it ended.
    pub(crate) async fn collect_garbage(&self, ctx: &Ctx) -> Result<(Report, i64), Error> {
        let (report, end_time) = self.collector.collect(ctx.traceparent()).await?;
        if report.failure.is_empty() { Ok((report, end_time)) } else { Err(Error::NotCollected(report.failure)) }
    }
}
