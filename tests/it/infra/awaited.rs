//! Settings that the chart and the compose file write and that no release reads yet: left out where settings are loaded.

/// Their paths. When a setting is there its line goes, and with the last one this file.
const AWAITED: [&str; 2] = ["tls", "gateway.tls"];

/// A settings file without them.
pub(super) fn without(text: &str) -> String {
    let mut table: toml::Table = text.parse().expect("settings are TOML");
    for path in AWAITED {
        match path.split_once('.') {
            None => _ = table.remove(path),
            Some((section, key)) => _ = table.get_mut(section).and_then(|s| s.as_table_mut()).and_then(|s| s.remove(key)),
        }
    }
    table.to_string()
}

/// Whether a variable sets one of them.
pub(super) fn is_awaited(variable: &str) -> bool {
    let path = variable.trim_start_matches("SLIPWAY_").replace("__", ".").to_lowercase();
    AWAITED.iter().any(|a| path.starts_with(&format!("{a}.")))
}
