//! Programs that tests run when they can be had. A test whose program is missing says SKIPPED and why, and passes.

use std::path::PathBuf;

/// Where `make test` puts the programs that it installs.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("slipway")
}

/// The program `name` from the cache or the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let cached = cache().join("tools/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(cached).chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|p| p.is_file())
}

/// Says that a test did not run. The line is counted by `make test`.
#[allow(clippy::print_stderr, reason = "a test that does not run must say so")]
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
}
