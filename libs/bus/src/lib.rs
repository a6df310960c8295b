//! slipway-bus
