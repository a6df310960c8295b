//! `slipway inference record`: traffic with a live provider, written down for tests.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::error::{Exit, Failure};
use crate::output::Out;
use crate::settings::Settings;

/// Asks the provider and writes the recording and what is read from it.
pub(crate) async fn record(
    settings: &Settings,
    out: &Out,
    provider: &str,
    model: &str,
    prompt: &str,
    file: &Path,
) -> anyhow::Result<()> {
    let expected = file.with_extension("json");
    let taken = [file, &expected].into_iter().find(|f| f.exists());
    if let Some(taken) = taken.or_else(|| file.extension().is_none_or(|e| e != "http").then_some(file)) {
        let why = if taken.exists() { "is there already" } else { "does not end in .http" };
        return Err(Failure::new(Exit::Usage, format!("--out: {} {why}", taken.display())).into());
    }
    let recorded = slipway_inference::record(&settings.inference, provider, model, prompt).await;
    let recorded = recorded.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let status = recorded.recording.status;
    write(file, &recorded.recording.to_bytes())?;
    write(&expected, recorded.expected.as_bytes())?;
    let bytes = recorded.recording.body.len();
    out.line(format!("{} {}: {status}, {bytes} bytes", out.paint.green("✓"), file.display()))?;
    out.line(format!("{} {}: read it, and mend what is not so", out.paint.green("✓"), expected.display()))
}

// Never over a file that came in between.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = std::fs::File::create_new(path);
    file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("{} cannot be written", path.display()))
}
