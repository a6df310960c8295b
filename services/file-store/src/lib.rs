//! slipway-file-store
