//! The generated stubs of `proto/` and its descriptor set, and nothing that thinks.
//!
//! Modules follow the packages: `slipway.filestore.v1` is [`slipway::filestore::v1`], re-exported as [`filestore`].
#![allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

pub use slipway::api::v1 as api;
pub use slipway::conversation::v1 as conversation;
pub use slipway::embedding::v1 as embedding;
pub use slipway::events::v1 as events;
pub use slipway::filestore::v1 as filestore;
pub use slipway::inference::v1 as inference;
pub use slipway::operations::v1 as operations;
pub use slipway::planner::v1 as planner;

/// The encoded `google.protobuf.FileDescriptorSet` of everything under `proto/`, with the policy options and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
