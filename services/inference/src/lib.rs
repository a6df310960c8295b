//! slipway-inference
