//! What is done beside the answers that are asked for.

use slipway_telemetry::Metrics;

use crate::settings::{BatchSettings, QuickSettings, Settings};

/// What that takes.
pub(crate) struct Beside {
    pub(super) quick: QuickSettings,
    pub(super) batch: BatchSettings,
    pub(super) metrics: Metrics,
}

impl Beside {
    /// As the settings say.
    pub(crate) fn new(settings: &Settings, metrics: Metrics) -> Self {
        Self { quick: settings.quick.clone(), batch: settings.batch.clone(), metrics }
    }
}
