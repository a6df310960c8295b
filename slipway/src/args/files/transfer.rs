//! `slipway files …`: what moves contents in and out, and what was found in them.

use std::path::PathBuf;

use clap::Subcommand;

/// Contents in and out.
#[derive(Debug, Subcommand)]
pub(crate) enum Transfer {
    /// Send a file of up to 1 GiB and commit it; what breaks off goes on.
    Upload {
        /// The workspace: a name or an id.
        workspace: String,
        /// The file.
        file: PathBuf,
        /// Where it goes in the workspace; its own name unless told.
        #[arg(long)]
        path: Option<String>,
        /// Goes on with this upload, which a broken one has named.
        #[arg(long, value_name = "UPLOAD")]
        resume: Option<String>,
        /// The revision's message.
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Fetch a file of any size; what broke off goes on.
    Download {
        /// The workspace: a name or an id.
        workspace: String,
        /// The file in it.
        path: String,
        /// Where it goes; its own name, here, unless told.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// List what looks like a secret in a revision: path, line, and kind.
    Secrets {
        /// The workspace: a name or an id.
        workspace: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// Import a directory, an archive (.tar, .tar.gz, .tgz, .zip), a Git bundle or https:// repository, or a Helm chart
    /// (oci://, or an https:// chart repository with --chart).
    Import {
        /// Where it is.
        source: String,
        /// The name of the new workspace; the source's unless told.
        #[arg(long, conflicts_with = "workspace")]
        name: Option<String>,
        /// Goes on with this workspace instead of making one.
        #[arg(long, short)]
        workspace: Option<String>,
        /// The revision's message.
        #[arg(long, short, default_value = "")]
        message: String,
        /// Of a Git repository: the branch or tag.
        #[arg(long, default_value = "")]
        reference: String,
        /// Of a Git repository: only what is below this folder.
        #[arg(long, default_value = "")]
        folder: String,
        /// Of a Git repository: how many of the last commits become revisions.
        #[arg(long, default_value_t = 1)]
        commits: u32,
        /// Of a chart repository: the chart.
        #[arg(long)]
        chart: Option<String>,
        /// Of a chart: the version, or a requirement such as ^1.2.
        #[arg(long, default_value = "", requires = "chart")]
        version: String,
    },
    /// Export a revision to a directory or an archive, or with --git the history as a Git bundle, for `git clone`.
    Export {
        /// The workspace: a name or an id.
        workspace: String,
        /// The new directory or file.
        path: PathBuf,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// The whole history as a Git bundle.
        #[arg(long)]
        git: bool,
    },
}
