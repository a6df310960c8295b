//! slipway-planner
