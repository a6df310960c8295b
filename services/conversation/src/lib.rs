//! slipway-conversation
