//! Services that a variable of the environment turns on, and where their keys may go.

use reqwest::Url;
use secrecy::SecretString;

use super::{ProviderKind, ProviderSettings};
use crate::provider::azure;

/// A service that needs no settings but a key.
pub(super) struct Known {
    /// The provider's name.
    pub(super) name: &'static str,
    /// Its protocol.
    pub(super) kind: ProviderKind,
    /// Variables that hold a key, the first one found counts.
    keys: &'static [&'static str],
    /// The only address that such a key is sent to.
    base_url: &'static str,
}

const KNOWN: [Known; 4] = [
    Known { name: "openai", kind: ProviderKind::OpenAi, keys: &["OPENAI_API_KEY"], base_url: "https://api.openai.com/v1" },
    Known {
        name: "openrouter",
        kind: ProviderKind::OpenRouter,
        keys: &["OPENROUTER_API_KEY"],
        base_url: "https://openrouter.ai/api/v1",
    },
    Known {
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        keys: &["CLAUDE_API_KEY", "ANTHROPIC_API_KEY"],
        base_url: "https://api.anthropic.com/v1",
    },
    Known {
        name: "gemini",
        kind: ProviderKind::Gemini,
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        base_url: "https://generativelanguage.googleapis.com/v1beta",
    },
];

const AZURE: &str = "azure";
const AZURE_KEY: &str = "AZURE_OPENAI_API_KEY";
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
const AZURE_VERSION: &str = "AZURE_OPENAI_API_VERSION";

const OLLAMA: &str = "ollama";
const OLLAMA_HOST: &str = "OLLAMA_HOST";
const OLLAMA_LOCAL: &str = "http://127.0.0.1:11434";

/// The environment, tidied: what is blank is not there.
pub(super) struct Env<F>(pub(super) F);

impl<F: Fn(&str) -> Option<String>> Env<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }
}

/// The kind that a provider of this name has when its settings name none.
pub(super) fn kind_of(name: &str) -> Option<ProviderKind> {
    match name {
        AZURE => Some(ProviderKind::Azure),
        OLLAMA => Some(ProviderKind::Ollama),
        _ => KNOWN.iter().find(|k| k.name == name).map(|k| k.kind),
    }
}

/// True when a provider of this name may be without a base URL.
pub(super) fn has_address(name: &str) -> bool {
    kind_of(name).is_some()
}

/// Turns the known services on, or completes their settings. A key goes to its service's own address and to no other.
pub(super) fn complete<F: Fn(&str) -> Option<String>>(
    providers: &mut std::collections::BTreeMap<String, ProviderSettings>,
    env: &Env<F>,
) {
    for known in &KNOWN {
        let key = known.keys.iter().find_map(|name| env.get(name));
        if key.is_none() && !providers.contains_key(known.name) {
            continue;
        }
        let provider = providers.entry(known.name.to_owned()).or_default();
        if provider.base_url.is_empty() {
            known.base_url.clone_into(&mut provider.base_url);
        }
        if provider.keys().next().is_none() && provider.base_url.trim_end_matches('/') == known.base_url {
            provider.api_key = key.map(SecretString::from);
        }
    }
    complete_azure(providers, env);
    complete_ollama(providers, env);
}

fn complete_azure<F: Fn(&str) -> Option<String>>(
    providers: &mut std::collections::BTreeMap<String, ProviderSettings>,
    env: &Env<F>,
) {
    let (key, endpoint) = (env.get(AZURE_KEY), env.get(AZURE_ENDPOINT));
    if !providers.contains_key(AZURE) && (key.is_none() || endpoint.is_none()) {
        return;
    }
    let provider = providers.entry(AZURE.to_owned()).or_default();
    let theirs = endpoint.as_deref().is_some_and(|e| provider.base_url.is_empty() || same(&provider.base_url, e));
    if let Some(endpoint) = endpoint.filter(|_| provider.base_url.is_empty()) {
        provider.base_url = endpoint;
        provider.api_version = provider.api_version.take().or_else(|| env.get(AZURE_VERSION));
    }
    if provider.keys().next().is_none() && (theirs || is_azure(&provider.base_url)) {
        provider.api_key = key.map(SecretString::from);
    }
}

fn complete_ollama<F: Fn(&str) -> Option<String>>(
    providers: &mut std::collections::BTreeMap<String, ProviderSettings>,
    env: &Env<F>,
) {
    let host = env.get(OLLAMA_HOST).and_then(|h| ollama_address(&h));
    if host.is_none() && !providers.contains_key(OLLAMA) {
        return;
    }
    let provider = providers.entry(OLLAMA.to_owned()).or_default();
    if provider.base_url.is_empty() {
        provider.base_url = host.unwrap_or_else(|| OLLAMA_LOCAL.to_owned());
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

fn is_azure(base_url: &str) -> bool {
    Url::parse(base_url).ok().filter(|u| u.scheme() == "https").is_some_and(|url| url.host_str().is_some_and(azure::is_host))
}

/// Ollama's variable holds an address to listen on or to call: with or without a scheme, a host, a port.
fn ollama_address(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let rest = rest.trim_end_matches('/');
    let rest = if rest.starts_with(':') { format!("127.0.0.1{rest}") } else { rest.to_owned() };
    let mut url = Url::parse(&format!("{scheme}://{rest}")).ok().filter(|u| matches!(u.scheme(), "http" | "https"))?;
    if matches!(url.host_str(), Some("0.0.0.0" | "[::]")) {
        url.set_host(Some("127.0.0.1")).ok()?;
    }
    // A default port disappears from the URL: what counts is whether one was written.
    let written = rest.rsplit(']').next().is_some_and(|end| end.contains(':'));
    if !written && !value.contains("://") {
        url.set_port(Some(11_434)).ok()?;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn in_force(settings: &str, env: &[(&str, &str)]) -> BTreeMap<String, ProviderSettings> {
        let mut providers: BTreeMap<String, ProviderSettings> = toml::from_str(settings).unwrap();
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        complete(&mut providers, &Env(get));
        providers
    }

    fn key(provider: &ProviderSettings) -> Option<&str> {
        provider.api_key.as_ref().map(|k| k.expose_secret())
    }

    #[test]
    fn each_variable_turns_its_service_on() {
        for known in &KNOWN {
            for variable in known.keys {
                let all = in_force("", &[(variable, " k \n")]);
                assert_eq!((all.len(), key(&all[known.name])), (1, Some("k")), "{variable}");
                assert_eq!(all[known.name].base_url, known.base_url);
            }
        }
        assert!(in_force("", &[("OPENAI_API_KEY", " ")]).is_empty());
    }

    #[test]
    fn a_key_never_goes_elsewhere() {
        for known in &KNOWN {
            let elsewhere = format!("[{}]\nbase_url = \"https://example.com/v1\"", known.name);
            let all = in_force(&elsewhere, &[(known.keys[0], "secret")]);
            assert_eq!(key(&all[known.name]), None, "{}", known.name);
        }
        let azure = |base: &str| {
            let all = in_force(&format!("[azure]\nbase_url = \"{base}\""), &[(AZURE_KEY, "secret")]);
            key(&all["azure"]).is_some()
        };
        assert!(azure("https://mine.openai.azure.com/openai/v1"));
        assert!(!azure("http://mine.openai.azure.com") && !azure("https://openai.azure.com.example.com"));
    }

    #[test]
    fn azure_is_its_key_and_its_endpoint() {
        let endpoint = (AZURE_ENDPOINT, "https://proxy.example.com/");
        let all = in_force("", &[(AZURE_KEY, "secret"), endpoint, (AZURE_VERSION, "2024-10-21")]);
        assert_eq!((key(&all["azure"]), all["azure"].api_version.as_deref()), (Some("secret"), Some("2024-10-21")));
        assert!(in_force("", &[(AZURE_KEY, "secret")]).is_empty());
        let all = in_force("[azure]\nbase_url = \"https://other.example.com\"", &[(AZURE_KEY, "secret"), endpoint]);
        assert_eq!(key(&all["azure"]), None);
    }

    #[test]
    fn ollamas_variable_comes_in_many_forms() {
        let cases = [
            ("localhost", "http://localhost:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            (":8080", "http://127.0.0.1:8080"),
            ("10.0.0.7:80", "http://10.0.0.7"),
            ("https://models.example.com/", "https://models.example.com"),
            ("http://box:11434/", "http://box:11434"),
        ];
        for (value, address) in cases {
            assert_eq!(in_force("", &[(OLLAMA_HOST, value)])["ollama"].base_url, address, "{value}");
        }
        assert!(in_force("", &[(OLLAMA_HOST, "ftp://x")]).is_empty());
        assert_eq!(in_force("[ollama]", &[])["ollama"].base_url, OLLAMA_LOCAL);
    }
}
