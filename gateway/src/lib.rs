//! slipway-gateway
