//! OpenAI's Responses: a list of items in, a list of items out, reasoning among them.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::Embedded;
use super::http::{self, Endpoint, Http, Wire, embedding};
use super::openai::{self, azure};
use crate::error::ProviderError;
use crate::model::{ModelInfo, Request};
use crate::settings::ProviderSettings;

mod event;
mod request;

use event::Reader;

/// The protocol's name in a reasoning's record.
const WIRE: &str = "responses";

/// The protocol.
pub(crate) struct Responses {
    url: Url,
    // Azure takes its key another way.
    azure: bool,
}

/// A provider that speaks it.
pub(crate) fn provider(name: &str, settings: &ProviderSettings) -> Result<Http<Responses>, reqwest::Error> {
    let url = http::url(&format!("{}/responses", settings.base_url.trim_end_matches('/')));
    let azure = azure::is_host(url.host_str().unwrap_or_default());
    Http::new(name, settings, Responses { url, azure }, HeaderMap::new())
}

impl Wire for Responses {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        if self.azure { azure::key_header(key) } else { (AUTHORIZATION, format!("Bearer {key}")) }
    }

    fn url(&self, _request: &Request) -> Url {
        self.url.clone()
    }

    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error> {
        request::encode(request)
    }

    fn reader(&self, request: &Request) -> Reader {
        Reader::new(&request.model)
    }

    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>> {
        async move {
            // Azure lists the models that could be deployed, not those that are.
            if self.azure { Ok(Vec::new()) } else { openai::list(at).await }
        }
        .boxed()
    }

    fn embed<'a>(&'a self, at: &'a Endpoint, model: &'a str, text: &'a str) -> BoxFuture<'a, Result<Embedded, ProviderError>> {
        embedding::openai(at, embedding::beside(self.url.clone(), 1), model, text).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_takes_its_key_another_way() {
        let header = |azure| Responses { url: http::url("https://x.example/v1/responses"), azure }.key_header("k");
        assert_eq!(header(true), (HeaderName::from_static("api-key"), "k".to_owned()));
        assert_eq!(header(false), (AUTHORIZATION, "Bearer k".to_owned()));
        assert!(azure::is_host("acme.openai.azure.com") && !azure::is_host("openai.azure.com.example.com"));
    }
}
