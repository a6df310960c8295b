//! The settings of this service and what they are in force, with the providers that the environment turns on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::builtin;
use crate::model::split_model;

mod beside;
mod cache;
mod keys;
mod known;
mod ledger;
mod prefetch;
mod prices;
mod privacy;
mod recordings;

pub use beside::{BatchSettings, QuickSettings};
pub use cache::{CacheSettings, SemanticSettings};
pub use keys::KeysSettings;
pub use ledger::LedgerSettings;
pub use prefetch::{PrefetchRule, PrefetchSettings};
pub use prices::PriceSettings;
pub use privacy::PrivacySettings;
pub use recordings::{RecordingMode, RecordingsSettings};

const MASK: &str = "********";
const MAX_KEYS: usize = 100;
const MAX_FALLBACKS: usize = 8;
const MAX_TIMEOUT_MS: u64 = 3_600_000;
const MAX_RETRIES: u32 = 10;

/// `[inference]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The model that an empty name means.
    pub default_model: String,
    /// How long a rule-engine answer waits before each of its deltas, in milliseconds.
    pub builtin_delta_delay_ms: u64,
    /// Providers by name: the part of a model's id before the slash.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// What models are and cost.
    pub catalogue: CatalogueSettings,
    /// What may leave.
    pub privacy: PrivacySettings,
    /// Answers that are kept.
    pub cache: CacheSettings,
    /// Short answers beside detailed ones.
    pub quick: QuickSettings,
    /// Many prompts in one call.
    pub batch: BatchSettings,
    /// Questions that are asked ahead.
    pub prefetch: PrefetchSettings,
    /// What encrypts the keys that projects bring along.
    pub keys: KeysSettings,
    /// The rows of calls.
    pub ledger: LedgerSettings,
    /// Calls on tape.
    pub recordings: RecordingsSettings,
    /// Models that are tried in this order when one fails before its first token: from a model's id to others'.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// They are tried also when a provider's content rules refused the request.
    pub fallback_when_refused: bool,
    /// When providers and keys that fail are set aside.
    pub breaker: BreakerSettings,
}

/// `[inference.breaker]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// A provider is set aside after so many failed calls in a row.
    pub failures: u32,
    /// For how long, and a key for how long when its provider does not say.
    pub cool_down_seconds: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, cool_down_seconds: 30 }
    }
}

/// `[inference.catalogue]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogueSettings {
    /// A file that goes before what comes with the binary, in the same format. It is read again when it changes.
    pub path: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_model: format!("{}/{}", builtin::PROVIDER, builtin::MODEL),
            builtin_delta_delay_ms: 0,
            providers: BTreeMap::new(),
            catalogue: CatalogueSettings::default(),
            privacy: PrivacySettings::default(),
            cache: CacheSettings::default(),
            quick: QuickSettings::default(),
            batch: BatchSettings::default(),
            prefetch: PrefetchSettings::default(),
            keys: KeysSettings::default(),
            ledger: LedgerSettings::default(),
            recordings: RecordingsSettings::default(),
            fallbacks: BTreeMap::new(),
            fallback_when_refused: false,
            breaker: BreakerSettings::default(),
        }
    }
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenAI's Chat Completions, which most others speak too.
    OpenAi,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's models at Azure.
    Azure,
    /// OpenRouter.
    OpenRouter,
    /// Ollama's own API.
    Ollama,
    /// Google's Gemini API.
    Gemini,
    /// No service: plays the answers of a file, or the recordings of a directory.
    Script,
}

impl ProviderKind {
    /// As in the settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Azure => "azure",
            Self::OpenRouter => "openrouter",
            Self::Responses => "responses",
            Self::Ollama => "ollama",
            Self::Gemini => "gemini",
            Self::Script => "script",
        }
    }
}

/// `[inference.providers.<name>]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// The protocol; absent: the one that the name stands for, else Chat Completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProviderKind>,
    /// Where the API is, up to and with its version: `http://127.0.0.1:8000/v1`. For Azure the resource, for Ollama the server.
    pub base_url: String,
    /// For Azure: the version of the older API, whose paths name a deployment; absent: the v1 API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// For the kind `script`: the file of answers, or the directory of recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
    /// The key; not needed for local servers.
    #[serde(serialize_with = "masked")]
    pub api_key: Option<SecretString>,
    /// More keys. Calls take them and `api_key` in turn; one that is refused or has used up its rate is left out for a while.
    #[serde(serialize_with = "all_masked")]
    pub api_keys: Vec<SecretString>,
    /// Models to list; any other name is passed on as well.
    pub models: Vec<String>,
    /// Whose price list holds for what this provider sells: a seller of the catalogue, or `none`. Empty: what `kind` and
    /// `base_url` tell.
    pub catalogue: String,
    /// Names that the provider's owner has given to models: deployment to model, for window and price.
    pub deployments: BTreeMap<String, String>,
    /// What models cost here, by the provider's name of the model: goes before every price list.
    pub prices: BTreeMap<String, PriceSettings>,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
    /// How long the provider may take to accept a call.
    pub headers_timeout_ms: u64,
    /// How long the provider may be silent in the middle of an answer.
    pub idle_timeout_ms: u64,
    /// How often a call that failed before its first token is tried again.
    pub max_retries: u32,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            kind: None,
            base_url: String::new(),
            api_version: None,
            script: None,
            api_key: None,
            api_keys: Vec::new(),
            models: Vec::new(),
            catalogue: String::new(),
            deployments: BTreeMap::new(),
            prices: BTreeMap::new(),
            connect_timeout_ms: 10_000,
            headers_timeout_ms: 120_000,
            idle_timeout_ms: 120_000,
            max_retries: 2,
        }
    }
}

impl ProviderSettings {
    /// The protocol of a provider of this name.
    pub(crate) fn kind(&self, name: &str) -> ProviderKind {
        self.kind.or_else(|| known::kind_of(name)).unwrap_or(ProviderKind::OpenAi)
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &SecretString> {
        self.api_key.iter().chain(&self.api_keys)
    }

    /// These settings once for each key, with that key alone; once without a key when there is none.
    pub(crate) fn with_each_key(&self) -> impl Iterator<Item = Self> {
        let keys: Vec<_> = self.keys().cloned().map(Some).collect();
        let keys = if keys.is_empty() { vec![None] } else { keys };
        keys.into_iter().map(|api_key| Self { api_key, api_keys: Vec::new(), ..self.clone() })
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn headers_timeout(&self) -> Duration {
        Duration::from_millis(self.headers_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }
}

fn all_masked<S: Serializer>(keys: &[SecretString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(keys.iter().map(|_| MASK))
}

// A key never leaves by `slipway config`.
fn masked<S: Serializer>(key: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|_| MASK).serialize(serializer)
}

impl Settings {
    /// Refuses values that cannot work, naming the key.
    pub fn check(&self) -> Result<(), String> {
        let Some((default, model)) = split_model(&self.default_model) else {
            return Err(format!("inference.default_model = \"{}\" is not of the form provider/model", self.default_model));
        };
        if default == builtin::PROVIDER && model != builtin::MODEL {
            return Err(format!("inference.default_model: {} has only the model \"{}\"", builtin::PROVIDER, builtin::MODEL));
        }
        if default != builtin::PROVIDER && !known::has_address(default) && !self.providers.contains_key(default) {
            return Err(format!(
                "inference.default_model names the provider \"{default}\", which inference.providers does not have"
            ));
        }
        if self.builtin_delta_delay_ms > 10_000 {
            return Err("inference.builtin_delta_delay_ms is over 10000".into());
        }
        self.privacy.check()?;
        self.cache.check()?;
        self.keys.check()?;
        self.ledger.check()?;
        self.recordings.check()?;
        self.quick.check()?;
        self.batch.check()?;
        self.prefetch.check()?;
        self.check_fallbacks()?;
        let embedder = &self.cache.semantic.model;
        if split_model(embedder).is_some_and(|(provider, _)| !self.knows(provider)) {
            return Err(format!("inference.cache.semantic.model = \"{embedder}\" has no configured provider"));
        }
        self.providers.iter().try_for_each(|(name, provider)| check_provider(name, provider))
    }

    fn knows(&self, provider: &str) -> bool {
        provider == builtin::PROVIDER || known::has_address(provider) || self.providers.contains_key(provider)
    }

    fn check_fallbacks(&self) -> Result<(), String> {
        let BreakerSettings { failures, cool_down_seconds } = self.breaker;
        if failures == 0 || failures > 1_000 {
            return Err(format!("inference.breaker.failures = {failures} is not between 1 and 1000"));
        }
        if cool_down_seconds == 0 || cool_down_seconds > 3_600 {
            return Err(format!("inference.breaker.cool_down_seconds = {cool_down_seconds} is not between 1 and 3600"));
        }
        for (model, others) in &self.fallbacks {
            if others.len() > MAX_FALLBACKS {
                return Err(format!("inference.fallbacks.\"{model}\" has more than {MAX_FALLBACKS} models"));
            }
            for id in std::iter::once(model).chain(others) {
                let provider = split_model(id).map(|(provider, _)| provider);
                if !provider.is_some_and(|p| self.knows(p)) {
                    return Err(format!("inference.fallbacks: \"{id}\" is not provider/model with a configured provider"));
                }
            }
        }
        Ok(())
    }

    /// These settings with the providers that the environment turns on. A key from the environment is sent only to the
    /// service that it is for, never to another base URL.
    pub(crate) fn in_force(&self, env: impl Fn(&str) -> Option<String>) -> Self {
        let mut all = self.clone();
        known::complete(&mut all.providers, &known::Env(env));
        all
    }
}

/// Refuses providers whose address neither the settings nor the environment tell.
pub(crate) fn check_addresses(in_force: &Settings) -> Result<(), String> {
    let mut addressed = in_force.providers.iter().filter(|(name, provider)| provider.kind(name) != ProviderKind::Script);
    let lost = addressed.find(|(_, provider)| provider.base_url.is_empty());
    let message = |name: &str| format!("inference.providers.{name}.base_url is missing, and no variable tells it");
    lost.map_or(Ok(()), |(name, _)| Err(message(name)))
}

fn check_provider(name: &str, provider: &ProviderSettings) -> Result<(), String> {
    let at = |key: &str| format!("inference.providers.{name}.{key}");
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name == builtin::PROVIDER || name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err(format!(
            "inference.providers.{name}: a provider's name is 1 to 64 of a-z, 0-9, '-', '_', '.', and not \"builtin\""
        ));
    }
    let script = provider.kind(name) == ProviderKind::Script;
    if script != provider.script.is_some() {
        return Err(format!("{} belongs to the kind \"script\", and each needs the other", at("script")));
    }
    if provider.base_url.is_empty() && !script && !known::has_address(name) {
        return Err(format!("{} is missing", at("base_url")));
    }
    let azure = provider.kind(name) == ProviderKind::Azure;
    let legal = |version: &str| !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if let Some(version) = provider.api_version.as_deref().filter(|v| !azure || !legal(v)) {
        return Err(format!(
            "{} = \"{version}\" is not a version of Azure's API, or the kind is not \"azure\"",
            at("api_version")
        ));
    }
    if !provider.base_url.is_empty() {
        let url = Url::parse(&provider.base_url).map_err(|e| format!("{} = \"{}\": {e}", at("base_url"), provider.base_url))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!("{} = \"{}\" is not an http or https URL", at("base_url"), provider.base_url));
        }
    }
    if provider.keys().count() > MAX_KEYS {
        return Err(format!("{} holds more than {MAX_KEYS} keys", at("api_keys")));
    }
    if provider.api_keys.iter().any(|key| key.expose_secret().trim().is_empty()) {
        return Err(format!("{} holds an empty key", at("api_keys")));
    }
    if let Some(bad) = provider.models.iter().find(|m| m.is_empty() || m.chars().count() > 150 || m.chars().any(char::is_control))
    {
        return Err(format!("{}: \"{}\" is not a model's name", at("models"), bad.escape_debug()));
    }
    if let Some((model, _)) = provider.prices.iter().find(|(_, price)| !price.is_sane()) {
        return Err(format!("{}.{model} has a price that is below 0 or beyond belief", at("prices")));
    }
    let timeouts = [
        ("connect_timeout_ms", provider.connect_timeout_ms),
        ("headers_timeout_ms", provider.headers_timeout_ms),
        ("idle_timeout_ms", provider.idle_timeout_ms),
    ];
    for (key, value) in timeouts {
        if value == 0 || value > MAX_TIMEOUT_MS {
            return Err(format!("{} = {value} is not between 1 and {MAX_TIMEOUT_MS}", at(key)));
        }
    }
    if provider.max_retries > MAX_RETRIES {
        return Err(format!("{} = {} is over {MAX_RETRIES}", at("max_retries"), provider.max_retries));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_need_no_key() {
        let settings = Settings::default();
        settings.check().unwrap();
        assert_eq!(settings.default_model, "builtin/rules");
        assert!(settings.in_force(|_| None).providers.is_empty());
    }

    #[test]
    fn keys_in_the_environment_turn_providers_on() {
        let env = |name: &str| (name == "OPENROUTER_API_KEY").then(|| " sk-or \n".to_owned());
        let all = Settings::default().in_force(env);
        let provider = &all.providers["openrouter"];
        assert_eq!(provider.base_url, "https://openrouter.ai/api/v1");
        assert_eq!(provider.api_key.as_ref().unwrap().expose_secret(), "sk-or");
        assert!(!all.providers.contains_key("openai"));
    }

    #[test]
    fn a_key_from_the_environment_stays_with_its_service() {
        let settings = parse("[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"");
        let all = settings.in_force(|_| Some("secret".into()));
        assert!(all.providers["openai"].api_key.is_none());
        assert!(all.providers["openrouter"].api_key.is_some());
    }

    #[test]
    fn bad_values_name_their_key() {
        let cases = [
            ("default_model = \"rules\"", "inference.default_model"),
            ("default_model = \"builtin/gpt\"", "inference.default_model"),
            ("default_model = \"nobody/x\"", "nobody"),
            ("[providers.local]", "inference.providers.local.base_url"),
            ("[privacy]\nallow = [\"(\"]", "inference.privacy.allow"),
            ("[providers.local]\nbase_url = \"ftp://x\"", "inference.providers.local.base_url"),
            ("[providers.local]\nbase_url = \"http://x\"\nidle_timeout_ms = 0", "idle_timeout_ms"),
            ("[providers.builtin]\nbase_url = \"http://x\"", "builtin"),
            ("[providers.local]\nbase_url = \"http://x\"\nmodels = [\"\"]", "models"),
            ("[providers.local]\nbase_url = \"http://x\"\napi_version = \"2024\"", "api_version"),
            ("[providers.azure]\napi_version = \"a b\"", "api_version"),
            ("[providers.play]\nkind = \"script\"", "inference.providers.play.script"),
            ("[providers.local]\nbase_url = \"http://x\"\nscript = \"a.json\"", "inference.providers.local.script"),
            ("[cache]\nmib = 0", "inference.cache.mib"),
            ("[cache]\nmax_temperature = 3.0", "inference.cache.max_temperature"),
            ("[cache.semantic]\nthreshold = 0.4", "inference.cache.semantic.threshold"),
            ("[cache]\nttl_seconds = 1\n[cache.semantic]\nmodel = \"small\"", "inference.cache.semantic.model"),
            ("[cache]\nttl_seconds = 1\n[cache.semantic]\nmodel = \"nobody/small\"", "no configured provider"),
            ("[cache.semantic]\nmodel = \"openai/small\"", "inference.cache.ttl_seconds"),
            ("[quick]\nmodel = \"x\"", "inference.quick.model"),
            ("[quick]\nmax_output_tokens = 1", "inference.quick.max_output_tokens"),
            ("[batch]\nper_provider = 0", "inference.batch.per_provider"),
            ("[prefetch]\nper_answer = 0", "inference.prefetch.per_answer"),
            ("[[prefetch.rules]]\nwhen = \"(\"\nask = [\"a\"]", "inference.prefetch.rules[0].when"),
            ("[[prefetch.rules]]\nwhen = \"a\"\nask = []", "inference.prefetch.rules[0].ask"),
            ("[keys]\nencryption_key = \"short\"", "inference.keys.encryption_key"),
            ("[keys]\nold_encryption_keys = [\"short\"]", "inference.keys.old_encryption_keys"),
            ("[recordings]\nmode = \"replay\"", "inference.recordings.directory"),
            ("[providers.local]\nbase_url = \"http://x\"\napi_keys = [\"a\", \" \"]", "inference.providers.local.api_keys"),
            ("[breaker]\nfailures = 0", "inference.breaker.failures"),
            ("[breaker]\ncool_down_seconds = 0", "inference.breaker.cool_down_seconds"),
            ("[fallbacks]\n\"openai/a\" = [\"nobody/b\"]", "\"nobody/b\""),
            ("[fallbacks]\n\"x\" = []", "inference.fallbacks: \"x\""),
        ];
        for (text, wanted) in cases {
            let message = parse(text).check().unwrap_err();
            assert!(message.contains(wanted), "{text}: {message}");
        }
        assert!(toml::from_str::<Settings>("colour = 1").is_err());
    }

    #[test]
    fn keys_are_never_printed() {
        let settings = parse("[providers.x]\nbase_url = \"http://x\"\napi_key = \"sk-secret\"\napi_keys = [\"sk-secret-2\"]");
        assert!(!toml::to_string(&settings).unwrap().contains("sk-secret"));
        assert!(!format!("{settings:?}").contains("sk-secret"));
    }
}
