//! `slipway files …`

mod transfer;

use std::path::PathBuf;

use clap::Subcommand;

pub(crate) use transfer::Transfer;

/// Files of a workspace: what became of them, what comes and goes, and what is not committed yet.
#[derive(Debug, Subcommand)]
pub(crate) enum Files {
    /// Overlays: changes that are not committed yet.
    #[command(subcommand)]
    Overlay(Overlay),
    /// Print lines of a text file with their numbers.
    View {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// The first line.
        #[arg(long, default_value_t = 1, value_name = "LINE")]
        first: u32,
        /// The last line; the file's last unless told.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "LINE")]
        last: u32,
    },
    /// Print the text of a document: PDF, Word, Excel, PowerPoint, OpenDocument, HTML, notebook.
    Text {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// List the revisions in which a file changed, through its names.
    History {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// The revision to begin with: a number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// Print a file with the revision that each line comes from.
    Blame {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// Follow a workspace's revisions as they are committed.
    Watch {
        /// A name or an id.
        workspace: String,
        /// Only revisions after this number.
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
    },
    #[command(flatten)]
    Transfer(Transfer),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Overlay {
    /// Make one of a revision.
    Create {
        /// A name or an id.
        workspace: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// What to call it.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List those of a workspace, the newest first.
    #[command(visible_alias = "ls")]
    List {
        /// A name or an id.
        workspace: String,
    },
    /// Show one.
    Show {
        /// Its id.
        overlay: String,
    },
    /// Print a file.
    Cat {
        /// Its id.
        overlay: String,
        /// The file.
        path: String,
    },
    /// Create or replace a file.
    Write {
        /// Its id.
        overlay: String,
        /// The file.
        path: String,
        /// Where the content is; standard input unless told.
        #[arg(long, short)]
        from: Option<PathBuf>,
    },
    /// Make the edits that a text holds: SEARCH/REPLACE blocks, a unified diff, `*** Begin Patch`, or whole files.
    Edit {
        /// Its id.
        overlay: String,
        /// Where the text is; standard input unless told.
        #[arg(long, short)]
        from: Option<PathBuf>,
        /// The file that is meant where the text names none.
        #[arg(long, short, default_value = "")]
        path: String,
    },
    /// Delete a file.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id.
        overlay: String,
        /// The file.
        path: String,
    },
    /// Rename a file.
    #[command(visible_alias = "mv")]
    Rename {
        /// Its id.
        overlay: String,
        /// The file.
        path: String,
        /// Its new name.
        new_path: String,
    },
    /// Compare it with the revision that it was made of.
    Diff {
        /// Its id.
        overlay: String,
        /// Lines around a change.
        #[arg(long, short = 'U', default_value_t = 3)]
        context: u32,
    },
    /// Make a revision of it.
    Commit {
        /// Its id.
        overlay: String,
        /// The revision's message.
        #[arg(long, short, default_value = "")]
        message: String,
        /// Merge it with what was committed since, as git does.
        #[arg(long)]
        merge: bool,
    },
    /// Show what would come of merging it with the head.
    Preview {
        /// Its id.
        overlay: String,
    },
    /// Delete it, with what no revision has.
    Delete {
        /// Its id.
        overlay: String,
        /// Yes, for good.
        #[arg(long, required = true)]
        yes: bool,
    },
}
