//! Which families of the catalogue list what a provider of the settings sells.

use std::collections::BTreeMap;

use reqwest::Url;

use super::book::Seller;
use crate::builtin;
use crate::settings::{ProviderKind, ProviderSettings, Settings};

/// What `catalogue = "none"` says: nobody's prices hold for this provider.
const NONE: &str = "none";

/// Sellers that speak OpenAI's protocol, by their host.
const HOSTS: [(&str, &str); 11] = [
    ("api.anthropic.com", "anthropic"),
    ("api.cerebras.ai", "cerebras"),
    ("api.deepseek.com", "deepseek"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral"),
    ("openrouter.ai", "openrouter"),
    ("api.perplexity.ai", "perplexity"),
    ("api.together.ai", "together_ai"),
    ("api.together.xyz", "together_ai"),
    ("api.x.ai", "xai"),
];

/// The sellers in force, by the provider's name.
#[derive(Debug)]
pub(super) struct Sellers(BTreeMap<String, Sold>);

#[derive(Debug)]
struct Sold {
    seller: Seller,
    deployments: BTreeMap<String, String>,
}

impl Sellers {
    pub(super) fn of(settings: &Settings) -> Self {
        let sold = |(name, provider): (&String, &ProviderSettings)| {
            let seller = Seller { name: name.clone(), families: families(name, provider) };
            (name.clone(), Sold { seller, deployments: provider.deployments.clone() })
        };
        let mut all: BTreeMap<_, _> = settings.providers.iter().map(sold).collect();
        let builtin = Seller { name: builtin::PROVIDER.to_owned(), families: Vec::new() };
        all.insert(builtin.name.clone(), Sold { seller: builtin, deployments: BTreeMap::new() });
        Self(all)
    }

    /// What the settings name that the catalogue does not have: the provider, and the seller.
    pub(super) fn find_unknown(&self, known: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
        let all = self.0.values().flat_map(|sold| sold.seller.families.iter().map(|f| (sold.seller.name.as_str(), f.as_str())));
        all.into_iter().find(|(_, family)| !known(family))
    }

    /// A provider as a seller, and the name of the model that it calls so.
    pub(super) fn get<'a>(&'a self, provider: &str, model: &'a str) -> Option<(&'a Seller, &'a str)> {
        let sold = self.0.get(provider)?;
        Some((&sold.seller, sold.deployments.get(model).map_or(model, String::as_str)))
    }
}

fn families(name: &str, provider: &ProviderSettings) -> Vec<String> {
    let families: &[&str] = match provider.catalogue.as_str() {
        NONE => &[],
        "" => by_address(name, provider),
        named => &[named],
    };
    families.iter().map(|f| (*f).to_owned()).collect()
}

// A server of one's own that speaks a seller's protocol is taken for a gateway to it: its models by that seller's names have
// that seller's prices, until the settings say otherwise.
fn by_address(name: &str, provider: &ProviderSettings) -> &'static [&'static str] {
    let host = Url::parse(&provider.base_url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default();
    if host.ends_with(".openai.azure.com") || host.ends_with(".cognitiveservices.azure.com") {
        return &["azure", "openai"];
    }
    match provider.kind(name) {
        ProviderKind::Azure => &["azure", "openai"],
        ProviderKind::Anthropic => &["anthropic"],
        ProviderKind::Script => &[],
        ProviderKind::OpenRouter => &["openrouter"],
        ProviderKind::Gemini => &["gemini"],
        // What runs on a machine of one's own costs nothing a token.
        ProviderKind::Ollama => &["ollama"],
        ProviderKind::OpenAi | ProviderKind::Responses => match HOSTS.iter().find(|(known, _)| *known == host) {
            Some((_, family)) => std::slice::from_ref(family),
            None => &["openai"],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sold_by(text: &str) -> Vec<String> {
        families("x", &toml::from_str::<ProviderSettings>(text).unwrap())
    }

    #[test]
    fn a_provider_sells_what_its_address_says() {
        assert_eq!(sold_by("base_url = \"https://api.openai.com/v1\""), ["openai"]);
        assert_eq!(sold_by("base_url = \"https://api.groq.com/openai/v1\""), ["groq"]);
        assert_eq!(sold_by("base_url = \"https://acme.openai.azure.com/openai/v1\""), ["azure", "openai"]);
        assert_eq!(sold_by("base_url = \"http://127.0.0.1:4000/v1\""), ["openai"]);
        assert_eq!(sold_by("base_url = \"http://127.0.0.1:4000/v1\"\ncatalogue = \"groq\""), ["groq"]);
        assert!(sold_by("base_url = \"http://127.0.0.1:4000/v1\"\ncatalogue = \"none\"").is_empty());
    }

    #[test]
    fn a_deployment_is_the_model_behind_it() {
        let text = "[providers.az]\nbase_url = \"https://a.openai.azure.com/openai/v1\"\ndeployments = { chat = \"gpt-4o\" }";
        let sellers = Sellers::of(&toml::from_str(text).unwrap());
        assert_eq!(sellers.get("az", "chat").unwrap().1, "gpt-4o");
        assert_eq!(sellers.get("az", "other").unwrap().1, "other");
        assert!(sellers.get("nobody", "x").is_none());
    }
}
