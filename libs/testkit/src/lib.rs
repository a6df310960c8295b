//! What tests need that is not a test: a scripted model provider, real servers started on free ports, and the suite
//! run as the real binary.

pub mod client;
pub mod cluster;
pub mod daemon;
pub mod nats;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod registry;
pub mod s3;
pub mod suite;
pub mod tools;

pub use provider::{Provider, Step};
pub use suite::{Suite, SuiteOptions};
