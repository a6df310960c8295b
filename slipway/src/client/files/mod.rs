//! `slipway files …`

mod history;
mod overlay;

use crate::args::Files as Command;
use crate::client::{Api, Rev};
use crate::output::Out;

/// Runs one of the commands about files.
pub(crate) async fn files(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Overlay(command) => overlay::overlay(api, out, command).await,
        Command::History { workspace, path, revision } => history::history(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::Blame { workspace, path, revision } => history::blame(api, out, &workspace, path, Rev::of(&revision)).await,
        Command::Watch { workspace, after } => history::watch(api, out, &workspace, after).await,
    }
}
