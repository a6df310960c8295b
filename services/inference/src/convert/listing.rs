//! Lists of models: which ones are asked for, and what is said of each.

use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault};
use time::Date;

use crate::catalogue::{Ability, Price};
use crate::service::{Listed, ListedModel, Wanted};

const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;
const MAX_PAGE_TOKEN: usize = 1_000;
const MAX_PROVIDER: usize = 64;

/// The page that a list is for.
pub(crate) fn list_models(request: pb::ListModelsRequest) -> Result<Wanted, Fault> {
    let mut check = Check::new();
    let size = page(&mut check, request.page_size, &request.page_token);
    let provider = check.text("provider", &request.provider, 0, MAX_PROVIDER);
    let mut abilities = Vec::new();
    for (n, capability) in request.capabilities.into_iter().enumerate() {
        match ability(capability) {
            Some(ability) => abilities.push(ability),
            None => check.fail(&format!("capabilities[{n}]"), "is not a known value"),
        }
    }
    check.finish()?;
    Ok(Wanted { size, token: request.page_token, provider, abilities })
}

/// How large a page is.
pub(super) fn page(check: &mut Check, size: u32, token: &str) -> u32 {
    check.ensure(token.len() <= MAX_PAGE_TOKEN, "page_token", format!("is longer than {MAX_PAGE_TOKEN} characters"));
    check.page_size("page_size", size, PAGE, MAX_PAGE)
}

fn ability(capability: i32) -> Option<Ability> {
    match pb::ModelCapability::try_from(capability).ok()? {
        pb::ModelCapability::Unspecified => None,
        pb::ModelCapability::Tools => Some(Ability::Tools),
        pb::ModelCapability::Images => Some(Ability::Images),
        pb::ModelCapability::Reasoning => Some(Ability::Reasoning),
        pb::ModelCapability::JsonFormat => Some(Ability::Json),
        pb::ModelCapability::PromptCache => Some(Ability::Cache),
    }
}

/// A page of models.
pub(crate) fn models(listed: Listed) -> pb::ListModelsResponse {
    let today = listed.at.date();
    let models = listed.models.into_iter().map(|m| model(m, today));
    pb::ListModelsResponse { models: models.collect(), next_page_token: listed.next_page_token }
}

fn model(listed: ListedModel, today: Date) -> pb::Model {
    let known = listed.known;
    pb::Model {
        id: listed.id,
        provider: listed.provider,
        display_name: listed.info.display_name,
        context_window: listed.info.context_window,
        tools: listed.info.tools,
        default: listed.default,
        images: listed.info.images,
        reasoning: listed.info.reasoning,
        json_format: listed.info.json,
        max_output_tokens: known.max_output.unwrap_or(0),
        prompt_cache: known.can(Ability::Cache),
        price: known.price(today).map(price),
        deprecation_date: known.deprecated.map(|d| d.to_string()).unwrap_or_default(),
        successor_model: known.successor.unwrap_or_default(),
    }
}

fn price(price: &Price) -> pb::ModelPrice {
    let rates = &price.rates;
    pb::ModelPrice {
        input_micros: rates.input,
        cached_input_micros: rates.cached_input,
        cache_write_micros: rates.cache_write,
        output_micros: rates.output,
        reasoning_micros: rates.reasoning,
        image_micros: rates.image,
        version: price.version.to_string(),
        effective_from: price.from.to_string(),
        long_prompt: price.above.map(|(limit, rates)| pb::LongPromptPrice {
            above_input_tokens: limit,
            input_micros: rates.input,
            cached_input_micros: rates.cached_input,
            cache_write_micros: rates.cache_write,
            output_micros: rates.output,
            reasoning_micros: rates.reasoning,
            image_micros: rates.image,
        }),
    }
}
