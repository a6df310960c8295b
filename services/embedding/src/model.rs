//! The rules of search: how files become chunks, how text becomes words, how hits become a choice of files. No I/O.

pub(crate) mod chunk;
pub(crate) mod glob;
pub(crate) mod select;
pub(crate) mod state;
pub(crate) mod words;
