//! Slipway from outside: the real binary, its public API, real clients. One test binary.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod charts;
mod chat;
mod clients;
mod command_line;
mod contract;
mod documents;
mod door;
mod drain;
#[path = "../faults/mod.rs"]
mod faults;
mod files;
mod infra;
mod kill;
mod letters;
mod links;
mod litellm;
mod migrations;
mod models;
mod money;
mod neighbours;
mod outage;
mod plans;
mod privacy;
mod rates;
mod raw;
mod rooms;
mod search;
mod story;
mod switch;
mod telemetry;
mod tls;
