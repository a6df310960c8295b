//! `slipway index …`

use clap::{Args, Subcommand};

/// The search index of a workspace, and audits.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Index {
    /// What to do other than to show it.
    #[command(subcommand)]
    pub(crate) command: Option<IndexCommand>,
    /// A name or an id.
    #[arg(required = true)]
    pub(crate) workspace: Option<String>,
    /// Waits until the head is searchable.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Builds it anew.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) rebuild: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Compare indexes with the files and with the engine, and say what does not fit together.
    Audit {
        /// A name or an id; every workspace unless told.
        workspace: Option<String>,
        /// Mends what can be mended.
        #[arg(long)]
        repair: bool,
    },
}
