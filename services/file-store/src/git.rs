//! Git: the objects that an export is made of, and the program that reads what an import brings.
//!
//! Exports are written by hand. The format of packs is small and has not changed for long; an own writer needs no program on
//! the machine, keeps no repository on the disk, and gives the same bytes each time. Imports are the other way round: what a
//! pack from anywhere may hold is no job for a small reader, so the `git` program reads it, run without a shell, with neither
//! the machine's nor the user's configuration, no hooks, no prompts, no credentials, and only the protocols that are allowed.

mod object;
mod pack;
mod program;

pub(crate) use object::{Kind, ObjectId, commit, trees};
pub(crate) use pack::PackWriter;
pub(crate) use program::{Blobs as GitBlobs, Commit as GitCommit, Entry as GitEntry, GitError, Repository, Source as GitSource};
