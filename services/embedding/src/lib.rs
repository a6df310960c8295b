//! slipway-embedding
