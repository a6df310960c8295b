//! Which variables of the environment are settings, and what they mean.

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

const PREFIX: &str = "SLIPWAY_";

/// One variable that is a setting.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    path: Vec<String>,
    value: String,
}

impl Variable {
    /// The layer of this variable: its value read as a number, a boolean, a list or a table where it looks like one, or
    /// as the text it is.
    pub(crate) fn layer(&self, literal: bool) -> Layer {
        let value = match self.value.parse::<Value>() {
            Ok(value) if !literal => value,
            _ => Value::from(self.value.as_str()),
        };
        Layer { name: self.name.clone(), dict: crate::nest(&self.path, value) }
    }
}

/// A variable as a figment provider, so that each has an origin of its own.
pub(crate) struct Layer {
    name: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// The variables that are settings, in the order of their names.
pub(crate) fn settings(env: &[(String, String)]) -> Vec<Variable> {
    let mut variables: Vec<Variable> = env.iter().filter_map(|(name, value)| variable(name, value)).collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

/// The name of the variable that sets `key`.
pub(crate) fn name_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn variable(name: &str, value: &str) -> Option<Variable> {
    let rest = name.strip_prefix(PREFIX)?;
    if rest.is_empty() || rest == "CONFIG" || rest.starts_with("TEST_") || is_service_link(rest, value) {
        return None;
    }
    let path = rest.split("__").map(str::to_lowercase).collect();
    Some(Variable { name: name.to_owned(), path, value: value.to_owned() })
}

/// Kubernetes gives every container variables for every Service: `SLIPWAY_SERVICE_HOST`, `SLIPWAY_PORT=tcp://…`,
/// `SLIPWAY_GATEWAY_PORT_50051_TCP_ADDR`. They are not meant for us.
fn is_service_link(rest: &str, value: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    let under = format!("_{rest}");
    under.ends_with("_SERVICE_HOST")
        || under.contains("_SERVICE_PORT")
        || under.ends_with("_PORT") && value.contains("://")
        || under.rsplit_once("_PORT_").is_some_and(|(_, tail)| {
            let mut parts = tail.split('_');
            parts.next().is_some_and(|p| p.parse::<u16>().is_ok()) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_not_settings() {
        let ours = |name: &str, value: &str| variable(name, value).is_some();
        assert!(!ours("SLIPWAY_SERVICE_HOST", "10.0.0.1"));
        assert!(!ours("SLIPWAY_PORT", "tcp://10.0.0.1:50051"));
        assert!(!ours("SLIPWAY_GATEWAY_PORT_50051_TCP_ADDR", "10.0.0.1"));
        assert!(!ours("SLIPWAY_GATEWAY_SERVICE_PORT_GRPC", "50051"));
        assert!(ours("SLIPWAY_PORT", "8080"), "a mistake, and reported as one");
        assert!(ours("SLIPWAY_LISTEN", "127.0.0.1:1"));
    }

    #[test]
    fn some_names_are_ours_but_no_settings() {
        assert!(variable("SLIPWAY_CONFIG", "x").is_none());
        assert!(variable("SLIPWAY_TEST_NATS", "x").is_none());
        assert!(variable("HOME", "x").is_none());
    }
}
