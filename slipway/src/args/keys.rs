//! `slipway inference keys`

use clap::Subcommand;

/// The keys of the project for model providers.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Store a key, read from standard input.
    Add {
        /// The provider's name in the server's settings.
        provider: String,
        /// What to call it.
        #[arg(long, default_value = "")]
        title: String,
    },
    /// List them; a key itself is never shown.
    #[command(visible_alias = "ls")]
    List,
    /// Replace a key by another one, read from standard input.
    Rotate {
        /// Its id.
        id: String,
    },
    /// Encrypt all keys on the server with the key-encryption key in use, so that the old ones can be removed.
    Rewrap,
    /// Delete a key.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command, Inference};

    #[test]
    fn a_key_is_never_on_the_command_line() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let Command::Inference(Inference::Keys(Keys::Add { provider, .. })) =
            parse("slipway inference keys add openai").unwrap().command
        else {
            panic!()
        };
        assert_eq!(provider, "openai");
        assert!(parse("slipway inference keys add openai sk-secret").is_err());
        assert!(parse("slipway inference keys rotate 0197 sk-secret").is_err());
    }
}
