//! `slipway models`

use slipway_proto::inference::{
    ListModelsRequest, ListModelsResponse, Model, ModelCapability, ModelPrice, TestConnectionRequest,
};

use super::Api;
use crate::args::{Ability, Models};
use crate::error::{Exit, Failure};
use crate::output::{Out, Table, dollars};

/// Lists the models, or tests one.
pub(crate) async fn models(api: &Api, out: &Out, asked: Models) -> anyhow::Result<()> {
    match asked.test {
        Some(model) => connection(api, out, model).await,
        None => list(api, out, asked).await,
    }
}

async fn list(api: &Api, out: &Out, asked: Models) -> anyhow::Result<()> {
    let mut request = ListModelsRequest {
        page_size: 1000,
        provider: asked.provider.unwrap_or_default(),
        capabilities: asked.can.into_iter().map(|can| capability(can).into()).collect(),
        ..Default::default()
    };
    let mut response = ListModelsResponse::default();
    loop {
        request.page_token = std::mem::take(&mut response.next_page_token);
        let page = api.models.clone().list_models(request.clone()).await?.into_inner();
        response.models.extend(page.models);
        response.next_page_token = page.next_page_token;
        if response.next_page_token.is_empty() {
            break;
        }
    }
    if out.json("inference.v1.ListModelsResponse", &response)? {
        return Ok(());
    }
    let mut table = Table::plain(&["model", "window", "output", "$/M in", "$/M out", "can", ""], out.paint);
    for model in &response.models {
        let price = model.price.as_ref();
        table.row([
            model.id.clone(),
            tokens(model.context_window),
            tokens(model.max_output_tokens),
            price.map(dollars_in).unwrap_or_else(|| "?".to_owned()),
            price.map(|p| dollars(p.output_micros)).unwrap_or_else(|| "?".to_owned()),
            abilities(model),
            remarks(model),
        ]);
    }
    out.line(table.text())
}

fn capability(can: Ability) -> ModelCapability {
    match can {
        Ability::Tools => ModelCapability::Tools,
        Ability::Images => ModelCapability::Images,
        Ability::Reasoning => ModelCapability::Reasoning,
        Ability::Json => ModelCapability::JsonFormat,
        Ability::Cache => ModelCapability::PromptCache,
    }
}

fn abilities(model: &Model) -> String {
    let all = [
        (model.tools, "tools"),
        (model.images, "images"),
        (model.reasoning, "reasoning"),
        (model.json_format, "json"),
        (model.prompt_cache, "cache"),
    ];
    all.iter().filter(|(can, _)| *can).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn remarks(model: &Model) -> String {
    let mut all = Vec::new();
    if model.default {
        all.push("default".to_owned());
    }
    if !model.deprecation_date.is_empty() {
        all.push(format!("until {}", model.deprecation_date));
    }
    all.join(", ")
}

// "200k", "1M": exact numbers are in `--json`.
fn tokens(count: u64) -> String {
    match count {
        0 => "?".to_owned(),
        n if n >= 1_000_000 => format!("{}M", n / 1_000_000),
        n if n >= 1_000 => format!("{}k", n / 1_000),
        n => n.to_string(),
    }
}

fn dollars_in(price: &ModelPrice) -> String {
    let whole = dollars(price.input_micros);
    if price.cached_input_micros == price.input_micros {
        whole
    } else {
        format!("{whole} ({})", dollars(price.cached_input_micros))
    }
}

async fn connection(api: &Api, out: &Out, model: String) -> anyhow::Result<()> {
    let answer = api.models.clone().test_connection(TestConnectionRequest { model }).await?.into_inner();
    let quiet = out.json("inference.v1.TestConnectionResponse", &answer)?;
    if !answer.ok {
        return Err(Failure::new(Exit::Failed, format!("{}: {} ({})", answer.model, answer.advice, answer.reason)).into());
    }
    if quiet {
        return Ok(());
    }
    out.line(format!("{} {} answered in {} ms", out.paint.green("✓"), answer.model, answer.latency_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_dollars_for_a_million_tokens() {
        let price = ModelPrice { input_micros: 2_500_000, cached_input_micros: 250_000, ..Default::default() };
        assert_eq!(dollars_in(&price), "2.50 (0.25)");
    }
}
