//! Connecting to NATS: where, as whom, how patiently, and how it goes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::delay;
use crate::{BusError, Settings};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(2);

/// What both connections of a process have in common. The servers need not be up: they are tried for ever.
pub(super) fn options(settings: &Settings) -> Result<ConnectOptions, BusError> {
    let options = ConnectOptions::new()
        .name("slipway")
        .retry_on_initial_connect()
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .reconnect_delay_callback(pause);
    if settings.credentials.is_empty() {
        return Ok(options);
    }
    let unusable = |error| BusError::Invalid(format!("bus.credentials {} cannot be used: {error}", settings.credentials));
    let text = std::fs::read_to_string(&settings.credentials).map_err(unusable)?;
    options.credentials(&text).map_err(unusable)
}

/// Before an attempt, the first of which need not wait.
fn pause(attempt: usize) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        later => delay(RECONNECT_FIRST, RECONNECT_LAST, later as u64 - 2),
    }
}

/// Returns at once, connected or not.
pub(super) async fn connect(options: ConnectOptions, settings: &Settings) -> Result<(Client, Link), BusError> {
    let unusable = |error: String| BusError::Invalid(format!("bus.url is of no use: {error}"));
    let servers: Result<Vec<ServerAddr>, _> = settings.servers().into_iter().map(str::parse).collect();
    let servers = servers.map_err(|error: std::io::Error| unusable(error.to_string()))?;
    let (told, state) = watch::channel(State::default());
    let told = Arc::new(told);
    let options = options.event_callback(move |event| {
        match event {
            Event::Connected => tell(&told, true),
            Event::Disconnected | Event::Closed => tell(&told, false),
            Event::ServerError(error) => tracing::warn!(%error, "the NATS server complains"),
            Event::ClientError(error) => tracing::warn!(%error, "no connection to NATS yet"),
            _ => {}
        }
        std::future::ready(())
    });
    let client = options.connect(servers).await.map_err(|error| unusable(error.to_string()))?;
    Ok((client, Link(state)))
}

fn tell(told: &watch::Sender<State>, connected: bool) {
    told.send_modify(|state| *state = State { connected, changes: state.changes + 1 });
}

/// How a connection is, for one that watches it; a clone watches by itself.
#[derive(Clone)]
pub(crate) struct Link(watch::Receiver<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    connected: bool,
    /// Counts the changes, so that none goes unnoticed.
    changes: u64,
}

impl Link {
    pub(super) fn is_connected(&self) -> bool {
        self.0.borrow().connected
    }

    /// Whether there was a connection and is none now.
    pub(super) fn was_lost(&self) -> bool {
        let state = *self.0.borrow();
        !state.connected && state.changes > 0
    }

    /// Tells connections apart.
    pub(super) fn number(&self) -> u64 {
        self.0.borrow().changes
    }

    /// Waits until there is a connection; for ever when there will be none. What changed before counts as seen.
    pub(super) async fn connected(&mut self) {
        if self.0.wait_for(|state| state.connected).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn lost(&mut self) {
        if self.0.wait_for(|state| !state.connected).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the connection is lost or there again, if it was not since the last look.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
