//! The settings of the whole program: each service's own, and what joins them.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slipway_settings::{Loaded, Loader};
use slipway_storage::Durability;

use crate::args::Service;
use crate::error::Failure;

/// Variables of the client commands, and of tests; they are no settings.
const OTHER_VARIABLES: [&str; 4] = ["SLIPWAY_SERVER", "SLIPWAY_TOKEN", "SLIPWAY_CA", slipway_storage::crash::VARIABLE];

/// Everything in `slipway.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where the gateway listens.
    pub(crate) listen: String,
    /// Where the embedded engines keep their data.
    pub(crate) data_dir: String,
    /// How long a service that is asked to stop lets the calls under way finish; the gateway has its own.
    pub(crate) drain_seconds: u64,
    pub(crate) gateway: slipway_gateway::Settings,
    pub(crate) conversation: slipway_conversation::Settings,
    pub(crate) planner: slipway_planner::Settings,
    pub(crate) file_store: slipway_file_store::Settings,
    pub(crate) embedding: slipway_embedding::Settings,
    pub(crate) inference: slipway_inference::Settings,
    pub(crate) services: Services,
    pub(crate) bus: slipway_bus::Settings,
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) tls: slipway_rpc::TlsSettings,
    pub(crate) telemetry: slipway_telemetry::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".into(),
            data_dir: "~/.local/share/slipway".into(),
            drain_seconds: 10,
            gateway: Default::default(),
            conversation: Default::default(),
            planner: Default::default(),
            file_store: Default::default(),
            embedding: Default::default(),
            inference: Default::default(),
            services: Services::default(),
            bus: Default::default(),
            store: Store::default(),
            identity: Identity::default(),
            tls: Default::default(),
            telemetry: Default::default(),
        }
    }
}

/// Where `serve` finds the other services, as URIs such as `http://planner:50051`. Calls are spread over every address that
/// a name has; several URIs may be given, with commas between them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Services {
    pub(crate) conversation: String,
    pub(crate) planner: String,
    pub(crate) file_store: String,
    pub(crate) embedding: String,
    pub(crate) inference: String,
}

impl Services {
    /// A service's address, if it has one; the gateway has none.
    pub(crate) fn of(&self, service: Service) -> Option<&str> {
        let address = match service {
            Service::Gateway => return None,
            Service::Conversation => &self.conversation,
            Service::Planner => &self.planner,
            Service::FileStore => &self.file_store,
            Service::Embedding => &self.embedding,
            Service::Inference => &self.inference,
        };
        Some(address.as_str()).filter(|a| !a.is_empty())
    }
}

/// Where state lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// A PostgreSQL URL, in which each service has a schema of its own; empty: a SQLite file per service in `data_dir`.
    pub(crate) url: String,
    /// What a commit survives, on SQLite: `power` cuts too, or the end of the `process` only.
    pub(crate) durability: Durability,
    /// Whether a service brings its schema up to date when it starts; else it does not start while migrations are missing,
    /// and `slipway migrate` applies them.
    pub(crate) migrate: bool,
    /// The most connections that a service makes to PostgreSQL.
    pub(crate) connections: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: String::new(), durability: Durability::default(), migrate: true, connections: 16 }
    }
}

/// How the services know who is calling.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// Signs identities between services, at least 32 characters; empty: made once and kept in `data_dir/identity.key`.
    #[serde(skip_serializing)]
    pub(crate) key: SecretString,
}

/// Loads and checks the settings of this process. `file` is the one of `--config`.
pub(crate) fn load(file: Option<PathBuf>) -> anyhow::Result<Loaded<Settings>> {
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let environment = environment.filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str()));
    checked(Loader::from_process(file).with_env(environment))
}

fn checked(loader: Loader) -> anyhow::Result<Loaded<Settings>> {
    let loaded = loader.load::<Settings>()?;
    let s = &loaded.settings;
    let services = s.gateway.check().and_then(|()| s.conversation.check()).and_then(|()| s.planner.check());
    let services = services.and_then(|()| s.file_store.check()).and_then(|()| s.embedding.check());
    let services = services.and_then(|()| s.inference.check());
    let all = services.and_then(|()| s.tls.check()).and_then(|()| s.bus.check()).and_then(|()| s.telemetry.check());
    all.map_err(|sentence| Failure::usage(format!("in the settings: {sentence}")))?;
    if s.data_dir.trim().is_empty() {
        return Err(loaded.invalid("data_dir", "is empty; name a directory").into());
    }
    if !s.store.url.is_empty() && !s.store.url.starts_with("postgres://") && !s.store.url.starts_with("postgresql://") {
        return Err(loaded.invalid("store.url", "should be empty or start with postgres://").into());
    }
    if s.gateway.rate_limit.shared && s.bus.url.is_empty() {
        return Err(loaded
            .invalid("gateway.rate_limit.shared", "wants bus.url: the gateways share their rates over NATS")
            .into());
    }
    if !(2..=1000).contains(&s.store.connections) {
        return Err(loaded.invalid("store.connections", "must be between 2 and 1000").into());
    }
    for (key, uri) in [
        ("services.conversation", &s.services.conversation),
        ("services.planner", &s.services.planner),
        ("services.file_store", &s.services.file_store),
        ("services.embedding", &s.services.embedding),
        ("services.inference", &s.services.inference),
    ] {
        let scheme = if s.tls.is_set() { "https" } else { "http" };
        let known = |place: &str| place.trim().strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"));
        if !uri.is_empty() && !uri.split(',').all(known) {
            let said = if s.tls.is_set() { "with [tls]" } else { "without [tls]" };
            let text = format!("is `{uri}`, which is not a URI such as {scheme}://planner:50051, as it must be {said}");
            return Err(loaded.invalid(key, &text).into());
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::error::{Exit, explain};

    fn with_env(variables: &[(&str, &str)]) -> anyhow::Result<Loaded<Settings>> {
        checked(Loader::new().with_env(variables.iter().copied()))
    }

    fn with_file(text: &str) -> anyhow::Result<Loaded<Settings>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("slipway.toml");
        std::fs::write(&file, text).unwrap();
        checked(Loader::new().with_file(file))
    }

    #[test]
    fn the_defaults_are_for_a_laptop() {
        let settings = with_env(&[]).unwrap().settings;
        assert_eq!(settings.listen, "127.0.0.1:50051");
        assert!(settings.gateway.is_local());
        assert_eq!(settings.services.of(Service::FileStore), None);
    }

    #[test]
    fn variables_nest() {
        let loaded = with_env(&[
            ("SLIPWAY_LISTEN", "127.0.0.1:1"),
            ("SLIPWAY_SERVICES__FILE_STORE", "http://files:50051"),
            ("SLIPWAY_STORE__DURABILITY", "process"),
            ("SLIPWAY_IDENTITY__KEY", "0123456789abcdef0123456789abcdef"),
        ]);
        let settings = loaded.unwrap().settings;
        assert_eq!(settings.listen, "127.0.0.1:1");
        assert_eq!(settings.services.file_store, "http://files:50051");
        assert_eq!(settings.store.durability, Durability::Process);
        assert_eq!(settings.identity.key.expose_secret().len(), 32);
    }

    #[test]
    fn tokens_fit_into_a_variable() {
        let tokens = "[{name=\"ci\", secret=\"0123456789abcdef01234567\", user=\"0197a000-0000-7000-8000-00000000000a\", \
            project=\"0197a000-0000-7000-8000-0000000000aa\", scope=\"write\"}]";
        let settings = with_env(&[("SLIPWAY_GATEWAY__TOKENS", tokens)]).unwrap().settings;
        assert_eq!(settings.gateway.tokens.len(), 1);
        assert!(!settings.gateway.is_local());
    }

    #[test]
    fn mistakes_name_the_key() {
        for (variable, value, key) in [
            ("SLIPWAY_LISTEM", "x", "listem"),
            ("SLIPWAY_BUS__URL", "http://x", "bus.url"),
            ("SLIPWAY_BUS__REPLICAS", "2", "bus.replicas"),
            ("SLIPWAY_BUS__CREDENTIALS", "/x.creds", "bus.credentials"),
            ("SLIPWAY_GATEWAY__RATE_LIMIT__SHARED", "true", "bus.url"),
            ("SLIPWAY_STORE__URL", "mysql://x", "store.url"),
            ("SLIPWAY_STORE__DURABILITY", "none", "store.durability"),
            ("SLIPWAY_STORE__CONNECTIONS", "1", "store.connections"),
            ("SLIPWAY_SERVICES__PLANNER", "planner:50051", "services.planner"),
            ("SLIPWAY_SERVICES__PLANNER", "https://planner:50051", "services.planner"),
            ("SLIPWAY_TLS__CERT", "/x", "tls.key"),
            ("SLIPWAY_DATA_DIR", " ", "data_dir"),
            ("SLIPWAY_INFERENCE__DEFAULT_MODEL", "nothing", "inference.default_model"),
            ("SLIPWAY_TELEMETRY__SAMPLE_RATIO", "7", "telemetry.sample_ratio"),
        ] {
            let (exit, text) = explain(&with_env(&[(variable, value)]).err().unwrap(), "");
            assert_eq!(exit, Exit::Usage, "{text}");
            assert!(text.contains(key), "{variable}: {text}");
        }
    }

    #[test]
    fn unknown_keys_of_a_service_are_refused() {
        for section in ["gateway", "conversation", "planner", "file_store", "embedding", "inference", "services", "bus", "store"]
        {
            let error = with_file(&format!("[{section}]\ncolour = 1\n")).err().unwrap();
            assert!(error.to_string().contains("colour"), "{section}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = "0123456789abcdef0123456789abcdef";
        let loaded =
            with_env(&[("SLIPWAY_IDENTITY__KEY", secret), ("SLIPWAY_STORE__URL", "postgres://me:hidden@db/slipway")]).unwrap();
        let text = loaded.in_force();
        assert!(!text.contains(secret) && !text.contains("hidden"), "{text}");
        assert!(!format!("{:?}", loaded.settings).contains(secret));
    }

    #[test]
    fn the_chart_writes_settings_that_load() {
        let Some(helm) = slipway_testkit::tools::find("helm") else {
            return slipway_testkit::tools::skipped("the_chart_writes_settings_that_load", "helm is not installed");
        };
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/helm/slipway");
        let mut command = std::process::Command::new(helm);
        command.args(["template", "demo", chart, "--show-only", "templates/configmap.yaml"]);
        let rendered = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let (_, text) = rendered.split_once("slipway.toml: |\n").expect("a ConfigMap with the file");
        let text: Vec<_> = text.lines().map(|line| line.strip_prefix("    ").unwrap_or_default()).collect();
        let settings = with_file(&text.join("\n")).unwrap().settings;
        assert_eq!(settings.listen, "0.0.0.0:50051");
        assert_eq!(settings.services.of(Service::FileStore), Some("http://demo-slipway-file-store:50051"));
        assert_eq!(settings.embedding.model_dir, "/var/lib/slipway-weights");
        assert!(settings.bus.url.starts_with("nats://"));
    }
}
