//! `slipway inference`

use std::path::PathBuf;

use clap::Subcommand;

use super::Keys;

/// What can be done about language models.
#[derive(Debug, Subcommand)]
pub(crate) enum Inference {
    /// Ask a provider of the settings once and write down what passes, without any key: a recording for tests, and beside it
    /// (`.json`) what is read from it.
    Record {
        /// The provider's name in the settings.
        #[arg(long, value_name = "NAME")]
        provider: String,
        /// The provider's name of the model.
        #[arg(long, value_name = "MODEL")]
        model: String,
        /// What to ask.
        #[arg(long, value_name = "TEXT")]
        prompt: String,
        /// Where to write it, ending in `.http`; it must not be there.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// The project's own keys for providers.
    #[command(subcommand)]
    Keys(Keys),
    /// List the providers, with how they and their keys are.
    Providers,
    /// The answers that are kept for the project, on the replica that is reached.
    #[command(subcommand)]
    Cache(Cache),
    /// Complete many prompts: one JSON document a line in, one a line out, as they are done.
    Batch {
        /// The file of prompts; `-`: standard input. A line is a `Prompt` of the API as JSON, or a string to ask.
        file: PathBuf,
        /// Print the answers in the order of their prompts.
        #[arg(long)]
        ordered: bool,
    },
}

/// What can be done about kept answers.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show what is kept, and how often it helped.
    Stats,
    /// Forget all of it.
    Clear,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_recording_names_everything() {
        let line =
            ["slipway", "inference", "record", "--provider", "openai", "--model", "gpt-4o", "--prompt", "hi", "--out", "a.http"];
        let Command::Inference(Inference::Record { provider, out, .. }) = Cli::parse_from(line).command else { panic!() };
        assert_eq!((provider.as_str(), out), ("openai", PathBuf::from("a.http")));
        assert!(Cli::try_parse_from(&line[..7]).is_err());
    }
}
