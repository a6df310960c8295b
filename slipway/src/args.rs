//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod eval;
mod files;
mod index;
mod inference;
mod keys;
mod letters;
mod models;
mod money;

pub(crate) use eval::{Eval, Retrieval, Weights};
pub(crate) use files::{Files, Overlay, Transfer};
pub(crate) use index::{Index, IndexCommand};
pub(crate) use inference::{Cache, Inference};
pub(crate) use keys::Keys;
pub(crate) use letters::DeadLetters;
pub(crate) use models::{Ability, Models};
pub(crate) use money::{Budget, Dimension, Subject, Usage, Window};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong command line, settings or field, 3 no such thing, 4 refused by the state of
things, 5 not signed in or not allowed, 6 the server cannot be reached, 130 stopped by Ctrl-C.

Settings come from slipway.toml (here, or in the user's configuration directory, or --config), then from SLIPWAY_*
variables; `slipway config` prints what is in force.";

/// Slipway: the gRPC backend for assistants that change files.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The settings file.
    #[arg(long, global = true, env = "SLIPWAY_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// The server that client commands call.
    #[arg(long, global = true, env = "SLIPWAY_SERVER", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    pub(crate) server: String,
    /// The access token for it.
    #[arg(long, global = true, env = "SLIPWAY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Certificates (PEM) to trust for an https server instead of the system's.
    #[arg(long, global = true, env = "SLIPWAY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Prints JSON: one document, or for streams one line per event.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole suite in this process.
    Up,
    /// Run one service alone, over TCP.
    Serve {
        /// Which.
        service: Service,
        /// Where it listens; otherwise its own address in [services] if that is one of this machine, otherwise `listen`.
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Show the settings in force and where each comes from.
    Config,
    /// Migrate the databases; `up` and `serve` do so by themselves.
    Migrate {
        /// Only this service's.
        #[arg(long)]
        service: Option<Service>,
        /// What to do.
        #[arg(value_enum, default_value = "up")]
        action: Migrate,
        /// For `down`: how many migrations to take back. What they made is deleted.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show the whole way once: import, ask, plan, approve, validate, compare, search, restore.
    Demo {
        /// Another Helm chart.
        #[arg(long, value_name = "DIR")]
        chart: Option<PathBuf>,
        /// Keep the data to look at afterwards.
        #[arg(long)]
        keep: bool,
    },
    /// Workspaces: trees of files with a history.
    #[command(subcommand, visible_alias = "ws")]
    Workspace(Workspace),
    /// Files: their histories, and what is not committed yet.
    #[command(subcommand)]
    Files(Files),
    /// Talk: one message, or a conversation when there is none on the command line.
    Chat {
        /// The message.
        text: Option<String>,
        /// The workspace that it is about: a name or an id.
        #[arg(long, short)]
        workspace: Option<String>,
        /// Goes on with this conversation.
        #[arg(long, short, conflicts_with = "workspace")]
        conversation: Option<String>,
        /// The model: provider/model.
        #[arg(long, short)]
        model: Option<String>,
    },
    /// Plans: what a request will change, for review.
    #[command(subcommand)]
    Plan(Plan),
    /// Search a workspace by meaning and by words.
    Search {
        /// The workspace: a name or an id.
        #[arg(long, short)]
        workspace: String,
        /// What to find.
        #[arg(required = true)]
        query: Vec<String>,
        /// At most this many hits.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: u32,
        /// Only files whose path matches.
        #[arg(long, default_value = "")]
        glob: String,
        /// How to search; the best there is unless told.
        #[arg(long, value_enum)]
        mode: Option<SearchMode>,
    },
    /// Show the search index of a workspace, or audit indexes.
    Index(Index),
    /// Self-tests on data of one's own.
    #[command(subcommand)]
    Eval(Eval),
    /// List the language models.
    Models(Models),
    /// Show what calls of language models used and cost.
    Usage(Usage),
    /// Budgets: what calls of language models may cost.
    #[command(subcommand)]
    Budget(Budget),
    /// Providers of language models, spoken to directly.
    #[command(subcommand)]
    Inference(Inference),
    /// Ask a server, or one service of a suite, whether it serves: for probes that run beside it.
    Health,
    /// Dead letters: work that has failed for good, and what to do about it.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Print the completions for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
}

/// The services, as `serve` and `migrate` name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    Gateway,
    Conversation,
    Planner,
    FileStore,
    Embedding,
    Inference,
}

impl Service {
    /// The name on the command line and of the database file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Conversation => "conversation",
            Self::Planner => "planner",
            Self::FileStore => "file-store",
            Self::Embedding => "embedding",
            Self::Inference => "inference",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Migrate {
    /// Apply what is missing.
    Up,
    /// Take the last ones back.
    Down,
    /// Show what is missing.
    Status,
    /// Print the SQL that makes PostgreSQL's roles: the owner of all schemas, and for each service one that may use its own.
    Roles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchMode {
    /// Vectors and words, fused.
    Hybrid,
    /// Words only.
    Lexical,
    /// Vectors only.
    Dense,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workspace {
    /// Make an empty workspace.
    Create {
        /// Its name.
        name: String,
    },
    /// Import a directory or an archive (.tar.gz, .tgz, .zip) as one revision.
    Import {
        /// The directory or archive.
        path: PathBuf,
        /// The name of the new workspace; the directory's or archive's unless told.
        #[arg(long, conflicts_with = "workspace")]
        name: Option<String>,
        /// Replaces the files of this workspace instead of making one.
        #[arg(long, short)]
        workspace: Option<String>,
        /// The revision's message.
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Export a revision to a directory, to an archive (.tar.gz, .tgz, .zip), or as tar.gz to `-`.
    Export {
        /// A name or an id.
        workspace: String,
        /// The new directory or file.
        path: PathBuf,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// List the workspaces.
    #[command(visible_alias = "ls")]
    List,
    /// Show one.
    Show {
        /// A name or an id.
        workspace: String,
    },
    /// Delete one with all its revisions.
    Delete {
        /// A name or an id.
        workspace: String,
        /// Yes, for good.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// List the files of a revision.
    Files {
        /// A name or an id.
        workspace: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// Only paths that match, such as 'templates/**/*.yaml'.
        #[arg(long, default_value = "")]
        glob: String,
    },
    /// Print a file.
    Cat {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
    },
    /// Make a link by which a file can be downloaded without a token.
    Link {
        /// A name or an id.
        workspace: String,
        /// The file.
        path: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// How many seconds it is good for, at most 3600.
        #[arg(long, default_value_t = 900)]
        ttl: u32,
    },
    /// Remove now what no revision of any workspace refers to and is older than the grace period.
    Gc,
    /// Find lines that match.
    Grep {
        /// A name or an id.
        workspace: String,
        /// Literal text, or with -E a regular expression.
        pattern: String,
        /// The pattern is a regular expression.
        #[arg(long, short = 'E')]
        regex: bool,
        /// Upper and lower case are the same.
        #[arg(long, short)]
        ignore_case: bool,
        /// Only files whose path matches.
        #[arg(long, default_value = "")]
        glob: String,
        /// A number or an id; the head unless told.
        #[arg(long, short)]
        revision: Option<String>,
        /// At most this many lines.
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
    },
    /// List the revisions.
    Log {
        /// A name or an id.
        workspace: String,
    },
    /// Compare two revisions; the head with the one before it unless told.
    Diff {
        /// A name or an id.
        workspace: String,
        /// The older: a number or an id.
        from: Option<String>,
        /// The newer: a number or an id.
        to: Option<String>,
        /// Lines around a change.
        #[arg(long, short = 'U', default_value_t = 3)]
        context: u32,
    },
    /// Make a new revision with the files of an older one.
    Restore {
        /// A name or an id.
        workspace: String,
        /// The older: a number or an id.
        revision: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plan {
    /// Make a plan for a request.
    Create {
        /// The workspace: a name or an id.
        #[arg(long, short)]
        workspace: String,
        /// The request.
        request: String,
        /// The model: provider/model.
        #[arg(long, short, default_value = "")]
        model: String,
    },
    /// Show a plan.
    Show {
        /// Its id.
        plan: String,
    },
    /// List plans, the newest first.
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this workspace: a name or an id.
        #[arg(long, short)]
        workspace: Option<String>,
    },
    /// Approve a plan and apply it.
    Approve {
        /// Its id.
        plan: String,
        /// The version that you reviewed; the present one unless told.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Reject a plan.
    Reject {
        /// Its id.
        plan: String,
        /// The version that you reviewed; the present one unless told.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Make a new version of a plan.
    Revise {
        /// Its id.
        plan: String,
        /// What to do otherwise.
        instructions: String,
        /// The version that you reviewed; the present one unless told.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Follow a plan's events.
    Watch {
        /// Its id.
        plan: String,
        /// Only events after this one.
        #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
        after: u64,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_all_commands_may_stand_anywhere() {
        let cli = parse("slipway workspace --json list --server http://x:1").unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.server, "http://x:1");
        assert!(matches!(cli.command, Command::Workspace(Workspace::List)));
    }

    #[test]
    fn services_are_named_with_dashes() {
        let cli = parse("slipway serve file-store --listen 127.0.0.1:1").unwrap();
        let Command::Serve { service, listen } = cli.command else { panic!("serve") };
        assert_eq!((service.name(), listen.as_deref()), ("file-store", Some("127.0.0.1:1")));
        assert_eq!(parse("slipway serve database").unwrap_err().kind(), ErrorKind::InvalidValue);
    }

    #[test]
    fn migrate_goes_up_unless_told() {
        let Command::Migrate { action, service, steps } = parse("slipway migrate").unwrap().command else { panic!("migrate") };
        assert_eq!((action, service, steps), (Migrate::Up, None, 1));
        assert!(parse("slipway migrate down --steps 0").is_err());
        assert!(parse("slipway migrate --service planner status").is_ok());
    }

    #[test]
    fn deleting_wants_a_yes() {
        assert_eq!(parse("slipway workspace delete w").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
        assert!(parse("slipway workspace delete w --yes").is_ok());
    }

    #[test]
    fn what_to_redrive_is_one_or_a_kind() {
        assert!(parse("slipway dead-letters redrive --service planner").is_err());
        assert!(parse("slipway dead-letters redrive --service planner x --kind plan").is_err());
        assert!(parse("slipway dead-letters redrive --service planner x").is_ok());
        assert!(parse("slipway dead-letters redrive --service planner --kind plan").is_ok());
    }

    #[test]
    fn a_conversation_has_its_workspace_already() {
        assert!(parse("slipway chat hello --workspace a --conversation b").is_err());
        assert!(parse("slipway chat").is_ok());
    }
}
