//! Where Azure OpenAI is, and how it takes a key: its v1 API, which is like OpenAI's own, and the older one with a path for each deployment.

use reqwest::Url;
use reqwest::header::HeaderName;

use super::Address;
use crate::provider::http;

const HOSTS: [&str; 3] = [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"];
const PATH: &str = "/openai";
const V1: &str = "/openai/v1";

/// The header that carries a key.
pub(crate) fn key_header(key: &str) -> (HeaderName, String) {
    (HeaderName::from_static("api-key"), key.to_owned())
}

/// True for a host that is Azure's.
pub(crate) fn is_host(host: &str) -> bool {
    HOSTS.iter().any(|suffix| host.ends_with(suffix))
}

/// The address of Chat Completions. The base is the resource's (`https://NAME.openai.azure.com`), with or without the path
/// of the API.
pub(super) fn address(base: &str, api_version: Option<&str>) -> Address {
    let endpoint = base.strip_suffix(V1).or_else(|| base.strip_suffix(PATH)).unwrap_or(base);
    match api_version {
        None => Address::Fixed(http::url(&format!("{endpoint}{V1}/chat/completions"))),
        Some(version) => Address::Deployment { endpoint: endpoint.to_owned(), api_version: version.to_owned() },
    }
}

/// The older API's address of a deployment.
pub(super) fn deployment_url(endpoint: &str, deployment: &str, api_version: &str) -> Url {
    let mut url = http::url(&format!("{endpoint}{PATH}/deployments"));
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend([deployment, "chat", "completions"]);
    }
    url.query_pairs_mut().append_pair("api-version", api_version);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_apis_are_found_from_the_same_base() {
        for base in ["https://x.openai.azure.com", "https://x.openai.azure.com/openai", "https://x.openai.azure.com/openai/v1"] {
            let Address::Fixed(url) = address(base, None) else { panic!("{base}") };
            assert_eq!(url.as_str(), "https://x.openai.azure.com/openai/v1/chat/completions");
            let Address::Deployment { endpoint, api_version } = address(base, Some("2024-10-21")) else { panic!("{base}") };
            let url = deployment_url(&endpoint, "my/gpt", &api_version);
            let expected = "https://x.openai.azure.com/openai/deployments/my%2Fgpt/chat/completions?api-version=2024-10-21";
            assert_eq!(url.as_str(), expected);
        }
    }
}
