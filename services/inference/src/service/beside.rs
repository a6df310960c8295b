//! What is done beside the answers that are asked for.

use slipway_rpc::Server;
use slipway_telemetry::Metrics;

use super::prefetch::Prefetch;
use crate::settings::{BatchSettings, QuickSettings, Settings};

/// What that takes.
pub(crate) struct Beside {
    pub(super) quick: QuickSettings,
    pub(super) batch: BatchSettings,
    pub(super) prefetch: Option<Prefetch>,
    pub(super) metrics: Metrics,
}

impl Beside {
    /// As the settings say; the server waits for what goes on in the background.
    pub(crate) fn new(settings: &Settings, metrics: Metrics, server: &mut Server) -> Result<Self, regex::Error> {
        let prefetch = Prefetch::new(&settings.prefetch, metrics.clone(), server.shutdown())?;
        if let Some(prefetch) = &prefetch {
            server.add_task("inference prefetch", prefetch.drain());
        }
        Ok(Self { quick: settings.quick.clone(), batch: settings.batch.clone(), prefetch, metrics })
    }
}
