//! slipway-storage
