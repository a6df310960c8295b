//! `slipway dead-letters`

use clap::Subcommand;

use super::Service;

/// Work that has failed for good, and what to do about it.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List them, the oldest work of each service first.
    #[command(visible_alias = "ls")]
    List {
        /// Only this service's; unless told, those of all that keep data.
        #[arg(long, short)]
        service: Option<Service>,
        /// Only this kind.
        #[arg(long, short, default_value = "")]
        kind: String,
    },
    /// Have one, or all of a kind, done again. Mend the cause first.
    Redrive {
        /// Whose.
        #[arg(long, short)]
        service: Service,
        /// Its id.
        #[arg(required_unless_present = "kind", conflicts_with = "kind")]
        id: Option<String>,
        /// All of this kind.
        #[arg(long, short)]
        kind: Option<String>,
    },
    /// Delete one: the work is never done.
    Delete {
        /// Whose.
        #[arg(long, short)]
        service: Service,
        /// Its id.
        id: String,
        /// Yes, for good.
        #[arg(long, required = true)]
        yes: bool,
    },
}
