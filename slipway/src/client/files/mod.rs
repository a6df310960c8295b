//! `slipway files …`

mod overlay;

use crate::args::Files as Command;
use crate::client::Api;
use crate::output::Out;

/// Runs one of the commands about files.
pub(crate) async fn files(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Overlay(command) => overlay::overlay(api, out, command).await,
    }
}
