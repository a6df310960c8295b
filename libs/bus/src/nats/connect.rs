//! Connecting to NATS: where, as whom, and how patiently.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};

use super::delay;
use crate::BusError;

pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const RECONNECT_FIRST: Duration = Duration::from_millis(100);
pub(super) const RECONNECT_LAST: Duration = Duration::from_secs(5);

/// What both connections of a process have in common. The server need not be up: they are tried for ever.
pub(super) fn options() -> ConnectOptions {
    ConnectOptions::new()
        .name("slipway")
        .retry_on_initial_connect()
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .reconnect_delay_callback(|attempts| delay(RECONNECT_FIRST, RECONNECT_LAST, attempts as u64))
}

pub(super) async fn connect(options: ConnectOptions, url: &str) -> Result<Client, BusError> {
    let connected = options.connect(url).await;
    connected.map_err(|error| BusError::Invalid(format!("the address of the bus is of no use: {error}")))
}
