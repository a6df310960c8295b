//! `slipway eval`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Self-tests on data of one's own.
#[derive(Debug, Subcommand)]
pub(crate) enum Eval {
    /// Measure how well the files of real changes are found: mines the history of a Git repository.
    ///
    /// Each sample is a commit that modified one to ten files of one package: its subject is the request, without names,
    /// paths and numbers; its files are what must be found; the tree before it is what is searched. Beside the live ranking
    /// stands BM25 over path and content. Nothing is sent anywhere and nothing is changed.
    Retrieval(Retrieval),
    /// Learn the weights of the choice of files from the histories of Git repositories, and print them.
    ///
    /// The samples are those of `slipway eval retrieval`. What the ranking sees of each file is the data, and whether the
    /// commit modified it what is to be told from it. Of several repositories each is also ranked by what the others teach:
    /// these figures go to standard error.
    Weights(Weights),
}

/// Which history, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct Retrieval {
    /// The repository; a bare one will do.
    #[arg(long, value_name = "DIR")]
    pub(crate) git: PathBuf,
    /// Only commits below this directory, which is one package unless it holds Helm charts.
    #[arg(long, value_name = "DIR", default_value = "")]
    pub(crate) path: String,
    /// Where the history ends.
    #[arg(long, value_name = "COMMIT", default_value = "HEAD")]
    pub(crate) revision: String,
    /// Chooses the sample: the same seed and size choose the same commits.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many commits, at most.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) samples: u32,
    /// Also show the ranking without each part of its score.
    #[arg(long)]
    pub(crate) ablate: bool,
    /// Also measure what Search finds by words, by meaning and by both. Each chunk is embedded in this process: that takes
    /// minutes.
    #[arg(long)]
    pub(crate) search: bool,
}

/// What to learn from, and how.
#[derive(Debug, Args)]
pub(crate) struct Weights {
    /// A repository, and the directory in it to which its commits are confined. Each one counts the same.
    #[arg(long, value_name = "REPOSITORY[:DIR]", required = true)]
    pub(crate) from: Vec<String>,
    /// Chooses the samples.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many commits of each repository, at most.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) samples: u32,
    /// How strongly weights are held small.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) l2: f64,
}
