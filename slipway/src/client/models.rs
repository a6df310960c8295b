//! `slipway models`

use slipway_proto::inference::{ListModelsRequest, ListModelsResponse, TestConnectionRequest};

use super::Api;
use crate::error::{Exit, Failure};
use crate::output::{Out, Table};

/// Lists the models, or tests one.
pub(crate) async fn models(api: &Api, out: &Out, test: Option<String>) -> anyhow::Result<()> {
    match test {
        Some(model) => connection(api, out, model).await,
        None => list(api, out).await,
    }
}

async fn list(api: &Api, out: &Out) -> anyhow::Result<()> {
    let mut response = ListModelsResponse::default();
    loop {
        let page_token = std::mem::take(&mut response.next_page_token);
        let page = api.models.clone().list_models(ListModelsRequest { page_size: 1000, page_token }).await?.into_inner();
        response.models.extend(page.models);
        response.next_page_token = page.next_page_token;
        if response.next_page_token.is_empty() {
            break;
        }
    }
    if out.json("inference.v1.ListModelsResponse", &response)? {
        return Ok(());
    }
    let mut table = Table::plain(&["model", "name", "window", "tools", ""], out.paint);
    for model in &response.models {
        let window = if model.context_window == 0 { "?".to_owned() } else { model.context_window.to_string() };
        let tools = if model.tools { "yes" } else { "no" };
        let default = if model.default { "default" } else { "" };
        table.row([model.id.clone(), model.display_name.clone(), window, tools.to_owned(), default.to_owned()]);
    }
    out.line(table.text())
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
