//! slipway-telemetry
