//! What deploys Slipway: the container image, the Helm chart, the compose file, the dashboards and the Terraform module.
//!
//! A test whose tool cannot be had says SKIPPED and why.

mod chart;
mod compose;
mod dashboards;
mod docker;
mod helm;
mod image;
mod terraform;
mod yaml;
