//! `slipway inference providers`

use slipway_proto::inference::{ListProvidersRequest, ListProvidersResponse, ProviderState};

use super::Api;
use crate::output::{Out, Table, time};

const PAGE: u32 = 1000;

/// Lists the providers.
pub(crate) async fn providers(api: &Api, out: &Out) -> anyhow::Result<()> {
    let mut all = ListProvidersResponse::default();
    loop {
        let request = ListProvidersRequest { page_size: PAGE, page_token: std::mem::take(&mut all.next_page_token) };
        let page = api.models.clone().list_providers(request).await?.into_inner();
        all.providers.extend(page.providers);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    if out.json("inference.v1.ListProvidersResponse", &all)? {
        return Ok(());
    }
    let mut table = Table::plain(&["provider", "speaks", "models", "state"], out.paint);
    for provider in &all.providers {
        let how = state(provider.state(), provider.ejected_until.as_ref(), &provider.reason);
        table.row([provider.name.clone(), provider.kind.clone(), provider.model_count.to_string(), how]);
        // Keys say so when they are not well; from 0, as in the settings.
        let away = provider.keys.iter().filter(|key| key.state() != ProviderState::Healthy);
        for key in away {
            let how = state(key.state(), key.ejected_until.as_ref(), &key.reason);
            let name = format!("  key {} of {}", key.index, provider.keys.len());
            table.row([name, String::new(), String::new(), how]);
        }
    }
    out.line(table.text())
}

fn state(state: ProviderState, until: Option<&prost_types::Timestamp>, reason: &str) -> String {
    match state {
        ProviderState::Healthy => "in use".to_owned(),
        ProviderState::Probing => format!("the next call tries it ({reason})"),
        ProviderState::Ejected => format!("set aside until {} ({reason})", time(until)),
        ProviderState::Unspecified => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_says_until_when_and_why() {
        let until = prost_types::Timestamp { seconds: 0, nanos: 0 };
        let told = state(ProviderState::Ejected, Some(&until), "PROVIDER_OVERLOADED");
        assert_eq!(told, "set aside until 1970-01-01 00:00:00 (PROVIDER_OVERLOADED)");
    }
}
