//! What every server process does: log, heed signals, serve metrics, stop in order.

use std::time::Duration;

use anyhow::Context as _;
use slipway_telemetry::metrics::Exporter;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Exit, Failure};

/// How long the background tasks may take to end: what they hold is leased and goes on elsewhere.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the process does not die of them.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs `front` until the first signal, or until a background task of `running` has died; then lets the front drain, and
/// stops the background tasks. A second signal ends all at once.
pub(crate) async fn run<F: Future<Output = anyhow::Result<()>>>(
    mut signals: Signals,
    running: slipway_rpc::Running,
    metrics: Option<Exporter>,
    front: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let drain = CancellationToken::new();
    let died = running.shutdown();
    let served = {
        let front = front(drain.clone());
        let scraped = async {
            if let Some(metrics) = metrics {
                metrics.run(drain.clone()).await;
            }
        };
        let both = async {
            let (served, ()) = tokio::join!(front, scraped);
            served
        };
        tokio::pin!(both);
        tokio::select! {
            served = &mut both => served,
            () = first(&mut signals, &died) => {
                tracing::info!("stopping: calls under way may finish");
                drain.cancel();
                tokio::select! {
                    served = &mut both => served,
                    () = signals.next() => return Err(Failure::new(Exit::Interrupted, "stopped at once by a second signal").into()),
                }
            }
        }
    };
    let crashed = died.is_cancelled();
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(STOP_LIMIT, running.stop()) => stopped,
        () = signals.next() => return Err(Failure::new(Exit::Interrupted, "stopped at once by a second signal").into()),
    };
    if stopped.is_err() {
        tracing::warn!("background tasks did not end in {} s; what they held goes on at the next start", STOP_LIMIT.as_secs());
    }
    served?;
    if crashed {
        return Err(Failure::new(Exit::Failed, "a background task died; the log says which and why").into());
    }
    tracing::info!("stopped");
    Ok(())
}

async fn first(signals: &mut Signals, died: &CancellationToken) {
    tokio::select! {
        () = signals.next() => {}
        () = died.cancelled() => {}
    }
}
