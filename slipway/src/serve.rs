//! `slipway serve <service>`: one service alone, over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use slipway_gateway::Gateway;
use slipway_rpc::{Server, Tls};
use slipway_telemetry::Metrics;
use slipway_telemetry::metrics::Exporter;
use tokio::net::TcpListener;

use crate::args::Service;
use crate::data::DataDir;
use crate::error::Failure;
use crate::output::Out;
use crate::process::{self, Signals};
use crate::settings::Settings;
use crate::suite::{Parts, SERVICES, addressed, upstreams};

/// Builds one service and runs it until it is asked to stop.
pub(crate) async fn serve(settings: &Settings, out: &Out, service: Service, listen: Option<String>) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    let _telemetry = slipway_telemetry::init(&settings.telemetry)?;
    let listen = address(settings, service, listen);
    let data = DataDir::new(settings)?;
    let metrics = Metrics::new();
    if service == Service::Gateway {
        let key = data.identity_key(settings)?;
        let parts = Parts::new(settings, &data, &key, &metrics).await?;
        // What has no address is not served; the gateway says so.
        let known: Vec<_> = SERVICES.into_iter().filter(|s| settings.services.of(*s).is_some()).collect();
        if known.is_empty() {
            return Err(Failure::usage("the gateway needs the services' addresses, and none is set in [services]").into());
        }
        let addressed = addressed(known.iter().copied(), |s| parts.remote(s))?;
        let upstreams = upstreams(known, |s| parts.remote(s))?;
        let bus = parts.bus.clone();
        let deps = slipway_gateway::Deps { listen, upstreams, addressed, bus, metrics: metrics.clone(), links: key.links() };
        let gateway = Gateway::build(&settings.gateway, deps).await?;
        let exporter = Exporter::bind(&settings.telemetry, &metrics).await?;
        let mut server = Server::new(key.clone());
        parts.add_certificates(&mut server);
        let running = server.start().await;
        say(out, service, &gateway.url())?;
        return process::run(signals, running, exporter, |stop| async {
            gateway.run(stop).await;
            Ok(())
        })
        .await;
    }
    let listener = bind(settings, service, &listen).await?;
    let key = data.identity_key(settings)?;
    let parts = Parts::new(settings, &data, &key, &metrics).await?;
    if settings.bus.url.is_empty() && matches!(service, Service::FileStore | Service::Embedding) {
        tracing::warn!("bus.url is empty: events stay in this process, so that new revisions do not reach the search index");
    }
    let exporter = Exporter::bind(&settings.telemetry, &metrics).await?;
    let mut server = Server::new(key.clone());
    let _lock = parts.add(service, &|s| parts.remote(s), &mut server).await?;
    parts.add_bus(&mut server);
    parts.add_certificates(&mut server);
    let scheme = if parts.tls.is_some() { "https" } else { "http" };
    say(out, service, &format!("{scheme}://{}", listener.local_addr()?))?;
    let running = server.start().await;
    let drain = Duration::from_secs(settings.drain_seconds);
    serve_until_stopped(signals, running, exporter, listener, parts.tls.clone(), drain).await
}

/// When it is asked to stop, its background tasks end and give back what they held, so that another replica goes on with it;
/// the calls under way may finish for as long as `drain`.
async fn serve_until_stopped(
    mut signals: Signals,
    running: slipway_rpc::Running,
    exporter: Option<Exporter>,
    listener: TcpListener,
    tls: Option<Tls>,
    drain: Duration,
) -> anyhow::Result<()> {
    let stop = running.shutdown();
    let stopped_by_us = async {
        tokio::select! {
            () = signals.next() => {
                tracing::info!("stopping: calls under way may finish");
                true
            }
            () = stop.cancelled() => false,
        }
    };
    let scraped = async {
        if let Some(exporter) = exporter {
            exporter.run(stop.clone()).await;
        }
    };
    let asked = async {
        let asked = stopped_by_us.await;
        stop.cancel();
        asked
    };
    let (served, (), asked) = tokio::join!(running.serve(listener, tls, drain), scraped, asked);
    running.stop().await;
    served?;
    if !asked {
        return Err(anyhow::anyhow!("a background task died; the log says which and why"));
    }
    tracing::info!("stopped");
    Ok(())
}

/// Where the service listens: what the command line says, its own address if that is one of this machine (its neighbours
/// look for it there), or `listen`.
fn address(settings: &Settings, service: Service, listen: Option<String>) -> String {
    let own = settings.services.of(service).and_then(|uri| uri.split_once("://")).map(|(_, rest)| rest.trim_end_matches('/'));
    let own = own.filter(|authority| authority.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback()));
    listen.or_else(|| own.map(str::to_owned)).unwrap_or_else(|| settings.listen.clone())
}

/// Beyond loopback others could sign identities with a key that they made themselves, had they ours: it must be one that
/// somebody has chosen and keeps.
async fn bind(settings: &Settings, service: Service, listen: &str) -> anyhow::Result<TcpListener> {
    let found = tokio::net::lookup_host(listen).await;
    let found = found.map_err(|_| Failure::usage(format!("\"{listen}\" is not an address such as 127.0.0.1:50061")))?;
    let addresses: Vec<_> = found.collect();
    let local = addresses.iter().all(|a| a.ip().is_loopback());
    if !local && settings.identity.key.expose_secret().is_empty() {
        let text = format!(
            "{} would listen on {listen}, which other machines can reach, and identity.key is not set: set it to the same secret for \
             all services, or listen on a loopback address",
            service.name()
        );
        return Err(Failure::usage(text).into());
    }
    TcpListener::bind(addresses.as_slice()).await.with_context(|| format!("cannot listen on {listen}"))
}

fn say(out: &Out, service: Service, url: &str) -> anyhow::Result<()> {
    if out.is_json() {
        let line = serde_json::json!({ "service": service.name(), "url": url });
        return out.line(line.to_string());
    }
    out.line(format!("{} serves on {}", out.paint.bold(service.name()), out.paint.cyan(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_listens_where_its_neighbours_look_for_it() {
        let mut settings = Settings::default();
        assert_eq!(address(&settings, Service::Planner, None), "127.0.0.1:50051");
        settings.services.planner = "http://127.0.0.1:50062/".into();
        assert_eq!(address(&settings, Service::Planner, None), "127.0.0.1:50062");
        assert_eq!(address(&settings, Service::Gateway, None), "127.0.0.1:50051");
        assert_eq!(address(&settings, Service::Planner, Some("0.0.0.0:1".into())), "0.0.0.0:1");
        settings.services.planner = "http://planner:50051".into();
        assert_eq!(address(&settings, Service::Planner, None), "127.0.0.1:50051");
    }

    #[tokio::test]
    async fn beyond_loopback_a_key_is_wanted() {
        let mut settings = Settings::default();
        let text = bind(&settings, Service::Planner, "0.0.0.0:0").await.unwrap_err().to_string();
        assert!(text.contains("identity.key"), "{text}");
        assert!(bind(&settings, Service::Planner, "127.0.0.1:0").await.is_ok());
        settings.identity.key = "0123456789abcdef0123456789abcdef".to_owned().into();
        assert!(bind(&settings, Service::Planner, "0.0.0.0:0").await.is_ok());
        assert!(bind(&settings, Service::Planner, "nowhere").await.is_err());
    }
}
