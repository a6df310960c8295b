//! slipway-rpc
