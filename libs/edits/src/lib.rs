//! The edit engine, once for everybody who edits: reads what a model or a person wants to change, in whichever format it is
//! written, and changes files exactly so, or refuses and says why. It does no I/O.
//!
//! [`Parser`] makes [`Edit`]s of text, piece by piece. [`apply`] carries them out on files: the ladder finds the one place
//! that an edit means, the text is written there and nowhere else, and the result is held against what was promised. What
//! cannot be proven is not written: a [`Refusal`] names the nearest candidates instead. What would cost too much is refused at the
//! same step everywhere. What a path may be is here, too:
//! [`check_path`].

mod apply;
mod block;
mod elide;
mod indent;
mod ladder;
mod lines;
mod nearest;
mod parse;
mod path;
mod prove;
mod refusal;
mod replace;
mod text;
mod view;
mod work;

#[cfg(test)]
mod tests;

pub use apply::{Batch, Change, Done, MAX_EDITED, Step, apply, as_text};
pub use block::{Block, Edit};
pub use ladder::Rung;
pub use parse::{Format, MAX_EDITS, MAX_TEXT, Parser};
pub use path::{PathError, PathRule, check_length, check_parts, check_path, fold, nfc};
pub use refusal::{Candidate, MAX_SHOWN, Refusal};
pub use view::{View, view};
