//! What the tests of this crate share.

use std::path::PathBuf;

/// Where the embedding weights are on this machine; says loudly when a test goes without them.
#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn weights() -> Option<PathBuf> {
    let dir = std::env::var_os("SLIPWAY_TEST_MODEL_DIR").map(PathBuf::from).or_else(crate::settings::default_model_dir)?;
    match crate::embedder::missing_files(&dir) {
        None => Some(dir),
        Some(missing) => {
            eprintln!("SKIPPED: no embedding weights: {missing}");
            None
        }
    }
}
