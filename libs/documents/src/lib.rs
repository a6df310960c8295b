//! The text of documents: PDF, Word, Excel, PowerPoint, OpenDocument, HTML, notebooks. Formats are read by the libraries of
//! the field; what a hostile document makes of them happens in a process of its own, whose time and memory are limited.
//!
//! `format.rs` tells formats apart, `convert.rs` makes text of bytes, `worker.rs` does that in another process.

mod convert;
mod format;
mod worker;

pub use format::Format;
pub use worker::{COMMAND, Refusal, Text, Worker, work};

/// Larger documents are not read, in bytes.
pub const MAX_DOCUMENT: u64 = 32 << 20;
/// A longer text is cut there, in bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// Counts what changes the text of a document: one that was made by another version is made anew.
pub const VERSION: i16 = 1;
