//! Edits: the tools that a model has, over the edit engine that everybody shares; the overlay that they change; and the syntax
//! checks behind each edit.

pub(crate) mod overlay;
pub(crate) mod syntax;
pub(crate) mod template;
pub(crate) mod tools;
pub(crate) mod yaml;
