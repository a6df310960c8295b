//! The edit engine: reads what a model or a person wants to change, in whichever format it is written, and changes files
//! exactly so, or refuses and says why. It does no I/O.
//!
//! [`parse`] makes [`Edit`]s of text, piece by piece. [`apply`] carries them out on files: [`ladder`] finds the one place
//! that an edit means, [`text`] writes there and nowhere else, and [`prove`] holds the result against what was promised.
//! What cannot be proven is not written: a [`Refusal`] names the nearest candidates instead.

mod apply;
mod block;
mod elide;
mod indent;
mod ladder;
mod nearest;
mod parse;
mod prove;
mod refusal;
mod replace;
mod text;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use apply::{Done, MAX_EDITED, apply, as_text};
pub(crate) use block::Edit;
pub(crate) use ladder::Rung;
pub(crate) use parse::{Format, MAX_EDITS, MAX_TEXT, Parser};
pub(crate) use refusal::{Candidate, MAX_SHOWN, Refusal};
pub(crate) use view::{View, view};
