//! The models that can be called, with what their provider and the catalogue say of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use time::OffsetDateTime;

use super::Inference;
use crate::catalogue::{Ability, Entry};
use crate::error::Error;
use crate::model::{ModelInfo, SEPARATOR};

const PAGE_PREFIX: &str = "after:";

/// Which models, and how many of them.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// At most this many.
    pub(crate) size: u32,
    /// From the page before.
    pub(crate) token: String,
    /// Only this provider's; empty: all.
    pub(crate) provider: String,
    /// Only those that can do all of these.
    pub(crate) abilities: Vec<Ability>,
}

/// A model in a list.
pub(crate) struct ListedModel {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) info: ModelInfo,
    pub(crate) known: Entry,
    pub(crate) default: bool,
}

/// A page of models.
pub(crate) struct Listed {
    pub(crate) models: Vec<ListedModel>,
    pub(crate) next_page_token: String,
    /// When it was made: prices are those of today.
    pub(crate) at: OffsetDateTime,
}

impl ListedModel {
    // A provider's own list says little. Where it says nothing, it says "no", but for tools, where it says "yes".
    fn of(id: String, provider: &str, mut info: ModelInfo, known: Entry, default: bool) -> Self {
        if info.context_window == 0 {
            info.context_window = known.window.unwrap_or(0);
        }
        info.tools &= known.can.is_none() || known.can(Ability::Tools);
        info.images |= known.can(Ability::Images);
        info.reasoning |= known.can(Ability::Reasoning);
        info.json |= known.can(Ability::Json);
        Self { id, provider: provider.to_owned(), info, known, default }
    }

    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Tools => self.info.tools,
            Ability::Images => self.info.images,
            Ability::Reasoning => self.info.reasoning,
            Ability::Json => self.info.json,
            Ability::Cache => self.known.can(Ability::Cache),
        }
    }
}

impl Inference {
    /// The models that can be called now, by id. The token holds the last id of the page before, so that a list which
    /// changes in between is neither repeated nor cut.
    pub(crate) async fn list_models(&self, wanted: Wanted) -> Result<Listed, Error> {
        let after = match wanted.token.as_str() {
            "" => None,
            token => Some(decode_token(token).ok_or(Error::PageToken)?),
        };
        let asked = self.providers().iter().filter(|u| wanted.provider.is_empty() || wanted.provider == u.name);
        let all = join_all(asked.map(|upstream| async move { (&upstream.name, upstream.models().await) })).await;
        let default = self.providers().default_model();
        let mut found = Vec::new();
        for (provider, infos) in all {
            for info in infos {
                let id = format!("{provider}{SEPARATOR}{}", info.name);
                if after.as_ref().is_none_or(|after| id > *after) {
                    found.push((id, provider, info));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);

        let size = wanted.size as usize;
        let mut models = Vec::new();
        for (id, provider, info) in found {
            let known = self.catalogue.find(&id).unwrap_or_default();
            let model = ListedModel::of(id, provider, info, known, false);
            if wanted.abilities.iter().all(|a| model.can(*a)) {
                models.push(ListedModel { default: model.id == default, ..model });
            }
            if models.len() > size {
                break;
            }
        }
        let more = models.len() > size;
        models.truncate(size);
        let next_page_token = if more { models.last().map(|m| encode_token(&m.id)).unwrap_or_default() } else { String::new() };
        Ok(Listed { models, next_page_token, at: OffsetDateTime::now_utc() })
    }
}

pub(super) fn encode_token(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PAGE_PREFIX}{id}"))
}

pub(super) fn decode_token(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(bytes).ok()?.strip_prefix(PAGE_PREFIX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_survive_the_way_there_and_back() {
        assert_eq!(decode_token(&encode_token("a/b/ü")).as_deref(), Some("a/b/ü"));
        for bad in ["x", "!!!", &URL_SAFE_NO_PAD.encode("something")] {
            assert!(decode_token(bad).is_none());
        }
    }

    #[test]
    fn the_catalogue_fills_what_the_provider_does_not_say() {
        let known = Entry { window: Some(7), can: Some(vec![Ability::Images]), ..Entry::default() };
        let silent = ModelInfo { tools: true, ..ModelInfo::default() };
        let model = ListedModel::of("a/b".into(), "a", silent.clone(), known.clone(), false);
        assert_eq!((model.info.context_window, model.info.tools, model.info.images), (7, false, true));
        let said = ModelInfo { context_window: 9, json: true, ..silent.clone() };
        let model = ListedModel::of("a/b".into(), "a", said, known, false);
        assert_eq!((model.info.context_window, model.info.json), (9, true));
        let unheard_of = ListedModel::of("a/c".into(), "a", silent, Entry::default(), false);
        assert!(unheard_of.can(Ability::Tools) && !unheard_of.can(Ability::Cache));
    }
}
