//! OpenAI's Responses: a list of items in, a list of items out, reasoning among them.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::http::{self, Endpoint, Http, Wire};
use super::openai;
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
}

/// A provider that speaks it.
pub(crate) fn provider(name: &str, settings: &ProviderSettings) -> Result<Http<Responses>, reqwest::Error> {
    let url = http::url(&format!("{}/responses", settings.base_url.trim_end_matches('/')));
    Http::new(name, settings, Responses { url }, HeaderMap::new())
}

impl Wire for Responses {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (AUTHORIZATION, format!("Bearer {key}"))
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
        openai::list(at).boxed()
    }
}
