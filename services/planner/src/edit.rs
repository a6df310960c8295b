//! Edits: the tools that change a file, the overlay that they change, and the syntax checks behind each edit.

pub(crate) mod overlay;
pub(crate) mod syntax;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod tools;
pub(crate) mod yaml;
