//! `slipway files …`

mod document;
mod edit;
mod history;
mod import;
mod overlay;
mod transfer;

use crate::args::{Files as Command, Transfer};
use crate::client::workspace::export;
use crate::client::{Api, Rev};
use crate::output::Out;

/// Runs one of the commands about files.
pub(crate) async fn files(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Overlay(command) => overlay::overlay(api, out, command).await,
        Command::View { workspace, path, revision, first, last } => {
            edit::view(api, out, &workspace, path, Rev::of(&revision), (first, last)).await
        }
        Command::Text { workspace, path, revision } => document::text(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::History { workspace, path, revision } => history::history(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::Blame { workspace, path, revision } => history::blame(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::Watch { workspace, after } => history::watch(api, out, &workspace, after).await,
        Command::Transfer(command) => transfer(api, out, command).await,
    }
}

async fn transfer(api: &Api, out: &Out, command: Transfer) -> anyhow::Result<()> {
    match command {
        Transfer::Upload { workspace, file, path, resume, message } => {
            transfer::upload(api, out, &workspace, &file, path, resume, message).await
        }
        Transfer::Download { workspace, path, output, revision } => {
            transfer::download(api, out, &workspace, path, output, Rev::of(&revision)).await
        }
        Transfer::Secrets { workspace, revision } => transfer::secrets(api, out, &workspace, Rev::of(&revision)).await,
        Transfer::Import { .. } => import::import(api, out, command).await,
        Transfer::Export { workspace, path, revision, git: true } => {
            transfer::export_git(api, out, &workspace, &path, Rev::of(&revision)).await
        }
        Transfer::Export { workspace, path, revision, git: false } => {
            export(api, out, &workspace, &path, Rev::of(&revision)).await
        }
    }
}
