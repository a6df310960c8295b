//! How events travel.

use serde::{Deserialize, Serialize};

/// With the pauses between them they last about two minutes.
const MAX_DELIVERIES: u32 = 10;

/// `[bus]` in `slipway.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where NATS is: `nats://host:port` or `tls://host:port`, several servers of one cluster with commas between. Empty:
    /// events stay within the process.
    pub url: String,
    /// A file with the credentials of a NATS user, as `nsc` writes it; it is read at the start. Empty: none.
    pub credentials: String,
    /// On how many servers of the cluster NATS keeps each event: 1, 3 or 5.
    pub replicas: usize,
    /// After so many deliveries of an event that a consumer does not take, the event is put aside as a dead letter and those
    /// that follow it get their turn.
    pub max_deliveries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: String::new(), credentials: String::new(), replicas: 1, max_deliveries: MAX_DELIVERIES }
    }
}

impl Settings {
    /// The servers.
    pub fn servers(&self) -> Vec<&str> {
        self.url.split(',').map(str::trim).filter(|server| !server.is_empty()).collect()
    }

    /// Whether the values can work; otherwise a sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        for server in self.url.split(',').map(str::trim).filter(|_| !self.url.is_empty()) {
            let host = ["nats://", "tls://"].iter().find_map(|scheme| server.strip_prefix(scheme));
            if host.is_none_or(str::is_empty) {
                return Err("bus.url must be empty or addresses such as nats://host:4222, with commas between".into());
            }
        }
        if self.url.is_empty() && !self.credentials.is_empty() {
            return Err("bus.credentials is set, and bus.url is not: there is nobody to show them to".into());
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err("bus.replicas must be 1, 3 or 5".into());
        }
        if self.max_deliveries == 0 {
            return Err("bus.max_deliveries must be at least 1".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Settings {
        Settings { url: url.into(), ..Settings::default() }
    }

    #[test]
    fn one_server_several_or_none() {
        for (url, servers) in [("", 0), ("nats://a:4222", 1), ("tls://a", 1), ("nats://u:p@a:4222, nats://b:4222", 2)] {
            at(url).check().unwrap();
            assert_eq!(at(url).servers().len(), servers, "{url}");
        }
        assert_eq!(at("nats://a:4222, tls://b").servers(), ["nats://a:4222", "tls://b"]);
    }

    #[test]
    fn a_bad_value_is_named() {
        for url in ["http://a", "a:4222", "nats://", "nats://a,,nats://b", "nats://a,b", ","] {
            assert!(at(url).check().unwrap_err().starts_with("bus.url "), "{url}");
        }
        let lonely = Settings { credentials: "/x".into(), ..Settings::default() };
        assert!(lonely.check().unwrap_err().starts_with("bus.credentials "));
        let even = Settings { replicas: 2, ..Settings::default() };
        assert!(even.check().unwrap_err().starts_with("bus.replicas "));
        let never = Settings { max_deliveries: 0, ..Settings::default() };
        assert!(never.check().unwrap_err().starts_with("bus.max_deliveries "));
    }
}
