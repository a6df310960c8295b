//! The providers in force, and how they are.

use futures::future::join_all;

use super::Inference;
use super::models::{decode_token, encode_token};
use crate::error::Error;
use crate::route::Standing;

/// A provider in a list.
pub(crate) struct ListedProvider {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) standing: Standing,
    pub(crate) keys: Vec<Standing>,
    pub(crate) models: usize,
}

/// A page of providers.
pub(crate) struct ListedProviders {
    pub(crate) providers: Vec<ListedProvider>,
    pub(crate) next_page_token: String,
}

impl Inference {
    /// The providers in force, by name.
    pub(crate) async fn list_providers(&self, size: u32, token: &str) -> Result<ListedProviders, Error> {
        let after = if token.is_empty() { String::new() } else { decode_token(token).ok_or(Error::PageToken)? };
        let size = size as usize;
        let mut page: Vec<_> = self.providers().iter().filter(|u| u.name > after).take(size + 1).collect();
        let more = page.len() > size;
        page.truncate(size);
        let listed = page.into_iter().map(|upstream| async move {
            ListedProvider {
                name: upstream.name.clone(),
                kind: upstream.kind.clone(),
                standing: upstream.standing(),
                keys: upstream.keys().collect(),
                models: upstream.models().await.len(),
            }
        });
        let providers = join_all(listed).await;
        let next_page_token = providers.last().filter(|_| more).map(|p| encode_token(&p.name)).unwrap_or_default();
        Ok(ListedProviders { providers, next_page_token })
    }
}
