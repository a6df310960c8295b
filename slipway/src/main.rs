//! The `slipway` binary: the whole suite, each service alone, and a client for both.

mod args;
mod backlog;
mod client;
mod config;
mod data;
mod demo;
mod error;
mod eval;
mod migrate;
mod output;
mod process;
mod record;
mod serve;
mod settings;
mod suite;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Cli, Command, Inference};
use clap::{CommandFactory as _, Parser as _};
use client::Api;
use error::{explain, is_broken_pipe};
use output::{Out, Paint};

/// Thousands of streams allocate and free small pieces on all threads: this costs less than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A worker that file-store has started: it limits itself before it does anything else.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == slipway_documents::COMMAND) {
        return slipway_documents::work(&arguments.next().unwrap_or_default());
    }
    let cli = Cli::parse();
    let server = cli.global.server.clone();
    let result = start(cli);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (exit, sentence) = explain(&error, &server);
            let paint = Paint::new(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            // Nobody is left to tell.
            let _ = writeln!(std::io::stderr(), "{} {sentence}", paint.red("error:"));
            ExitCode::from(exit as u8)
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // One crypto provider for everything that speaks TLS; it fails only when it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(cli));
    // A read of the terminal cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    result
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    let out = Out::new(global.json)?;
    let load = || settings::load(global.config.clone());
    match command {
        Command::Up => up::up(&load()?.settings, &out).await,
        Command::Serve { service, listen } => serve::serve(&load()?.settings, &out, service, listen).await,
        Command::Config => config::config(&load()?, &out),
        Command::Migrate { service, action, steps } => migrate::migrate(&load()?.settings, &out, service, action, steps).await,
        Command::Demo { chart, keep } => demo::demo(&out, chart, keep).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slipway", &mut script);
            out.raw(&script)
        }
        Command::Workspace(command) => client::workspace(&Api::new(&global)?, &out, command).await,
        Command::Files(command) => client::files(&Api::new(&global)?, &out, command).await,
        Command::Chat { text, workspace, conversation, model } => {
            client::chat(&Api::new(&global)?, &out, text, workspace, conversation, model).await
        }
        Command::Plan(command) => client::plan(&Api::new(&global)?, &out, command).await,
        Command::Search { workspace, query, limit, glob, mode } => {
            client::search(&Api::new(&global)?, &out, &workspace, query.join(" "), limit, glob, mode).await
        }
        Command::Index(command) => client::index(&Api::new(&global)?, &out, command).await,
        Command::Eval(command) => eval::eval(&out, command).await,
        Command::Usage(asked) => client::usage(&Api::new(&global)?, &out, asked).await,
        Command::Budget(command) => client::budget(&Api::new(&global)?, &out, command).await,
        Command::Health => client::health(&Api::new(&global)?, &out).await,
        Command::DeadLetters(command) => client::letters(&Api::new(&global)?, &out, command).await,
        Command::Inference(Inference::Keys(command)) => client::keys(&Api::new(&global)?, &out, command).await,
        Command::Inference(Inference::Providers) => client::providers(&Api::new(&global)?, &out).await,
        Command::Inference(Inference::Cache(command)) => client::cache(&Api::new(&global)?, &out, command).await,
        Command::Inference(Inference::Batch { file, ordered }) => client::batch(&Api::new(&global)?, &out, &file, ordered).await,
        Command::Inference(Inference::Record { provider, model, prompt, out: file }) => {
            record::record(&load()?.settings, &out, &provider, &model, &prompt, &file).await
        }
        Command::Models(asked) => client::models(&Api::new(&global)?, &out, asked).await,
    }
}
