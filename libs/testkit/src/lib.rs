//! slipway-testkit
