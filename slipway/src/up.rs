//! `slipway up`: the whole suite in one process.

use std::net::SocketAddr;

use secrecy::ExposeSecret as _;
use slipway_gateway::Gateway;
use slipway_rpc::Server;
use slipway_telemetry::Metrics;
use slipway_telemetry::metrics::Exporter;

use crate::data::DataDir;
use crate::output::Out;
use crate::process::{self, Signals};
use crate::settings::Settings;
use crate::suite::{Parts, SERVICES, addressed, upstreams};

/// Builds everything, says where it listens, and runs until it is asked to stop.
pub(crate) async fn up(settings: &Settings, out: &Out) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    let _telemetry = slipway_telemetry::init(&settings.telemetry)?;
    let data = DataDir::new(settings)?;
    let metrics = Metrics::new();
    let exporter = Exporter::bind(&settings.telemetry, &metrics).await?;
    let key = data.identity_key(settings)?;
    let mut server = Server::new(key.clone());
    let local = server.channel();
    let mut parts = Parts::new(settings, &data, &key, &metrics).await?;
    let deps = slipway_gateway::Deps {
        listen: settings.listen.clone(),
        upstreams: upstreams(SERVICES, |_| Ok(local.clone()))?,
        addressed: addressed(SERVICES, |_| Ok(local.clone()))?,
        bus: parts.bus.clone(),
        metrics: metrics.clone(),
        links: key.links(),
    };
    let gateway = Gateway::build(&settings.gateway, deps).await?;
    parts.gateway = Some(gateway.url());
    let mut locks = Vec::new();
    for service in SERVICES {
        locks.extend(parts.add(service, &|_| Ok(local.clone()), &mut server).await?);
    }
    parts.add_bus(&mut server);
    let running = server.start().await;
    welcome(settings, &data, &gateway, out)?;
    process::run(signals, running, exporter, |stop| async {
        gateway.run(stop).await;
        Ok(())
    })
    .await
}

fn welcome(settings: &Settings, data: &DataDir, gateway: &Gateway, out: &Out) -> anyhow::Result<()> {
    let (address, url) = (gateway.local_addr(), gateway.url());
    if out.is_json() {
        let line = serde_json::json!({ "url": url, "local": gateway.is_local(), "dataDir": data.path() });
        return out.line(line.to_string());
    }
    let paint = out.paint;
    out.line(format!("{} {}", paint.bold("Slipway serves on"), paint.cyan(&url)))?;
    out.line(match gateway.is_local() {
        true => "  sign-in  none: local mode. This machine only, one local user, one default project".to_owned(),
        false => format!("  sign-in  by token: {} configured", settings.gateway.tokens.len()),
    })?;
    out.line(format!("  data     {}", data.path().display()))?;
    out.line(format!("  model    {}", model(settings)))?;
    out.line(format!("  search   {}", search(settings)))?;
    out.line("")?;
    out.line(paint.bold("Try it"))?;
    let flags = client_flags(settings, address, &url);
    for line in [
        format!("slipway{flags} workspace import infra/helm/slipway"),
        format!("slipway{flags} chat --workspace slipway \"How many gateway replicas run?\""),
        format!("slipway{flags} chat --workspace slipway \"run three gateway replicas\""),
    ] {
        out.line(format!("  {line}"))?;
    }
    let header = if gateway.is_local() { "" } else { " -H \"authorization: Bearer $SLIPWAY_TOKEN\"" };
    out.line(format!("  grpcurl -plaintext{header} {address} list"))?;
    out.line(format!(
        "  grpcurl -plaintext{header} -d '{{\"name\": \"hello\"}}' {address} slipway.filestore.v1.FileStoreService/CreateWorkspace"
    ))?;
    out.line("")?;
    out.line(paint.dim("Ctrl-C stops it; nothing that was acknowledged is lost."))
}

fn client_flags(settings: &Settings, address: SocketAddr, url: &str) -> String {
    let usual = address.port() == 50051 && url.starts_with("http://");
    let server = if usual { String::new() } else { format!(" --server {url}") };
    let token = if settings.gateway.is_local() { "" } else { " --token \"$SLIPWAY_TOKEN\"" };
    format!("{server}{token}")
}

fn model(settings: &Settings) -> String {
    let name = &settings.inference.default_model;
    if name.starts_with("builtin/") {
        return format!(
            "{name}: a rule engine, not a language model; ANTHROPIC_API_KEY, OPENAI_API_KEY or another provider's key turns one on (docs/providers.md)"
        );
    }
    let keyless = settings.inference.providers.values().all(|p| p.api_key.as_ref().is_none_or(|k| k.expose_secret().is_empty()));
    if keyless { name.clone() } else { format!("{name} (keys are set)") }
}

fn search(settings: &Settings) -> String {
    let dir = settings.embedding.model_dir().filter(|dir| dir.join("model.safetensors").is_file());
    match dir {
        Some(dir) => format!("by meaning and by words, with the weights in {}", dir.display()),
        None => "by words only: no embedding weights; `make weights` gets them".to_owned(),
    }
}
