//! The suite at scale with engines of its own, a proxy in front of each, and the scripted model.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use slipway_testkit::cluster::{Cluster, Engines};
use slipway_testkit::nats::NatsServer;
use slipway_testkit::postgres::Postgres;
use slipway_testkit::proxy::Proxy;
use slipway_testkit::s3::S3;
use slipway_testkit::suite::Client;
use slipway_testkit::{Provider, SuiteOptions};
use tokio::process::Command;

use super::cases::{self, Calls, Case};
use crate::story::binary;

/// Everything that a fault can strike.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) postgres: Postgres,
    pub(super) nats: NatsServer,
    /// File contents lie in a directory where no S3 server can be had.
    pub(super) s3: Option<S3>,
    pub(super) store_door: Proxy,
    pub(super) bus_door: Proxy,
    pub(super) bucket_door: Option<Proxy>,
    pub(super) calls: Calls,
    /// The database, past the proxy.
    database: String,
    cases: usize,
    _provider: Provider,
}

impl World {
    /// Starts everything; nothing where an engine cannot be had, which is said.
    pub(super) async fn start() -> anyhow::Result<Option<Self>> {
        let Some(postgres) = Postgres::start().await else { return Ok(None) };
        let Some(nats) = NatsServer::start().await else { return Ok(None) };
        let (provider, calls) = cases::provider().await?;
        let database = postgres.database().await?;
        let (store_door, store) = behind_door(&database)?;
        let (bus_door, bus) = behind_door(&nats.url())?;
        let s3 = S3::start().await;
        let mut bucket = s3.as_ref().map(S3::bucket).transpose()?;
        let mut bucket_door = None;
        if let Some(bucket) = &mut bucket {
            let (door, endpoint) = behind_door(&bucket.endpoint)?;
            bucket.endpoint = endpoint;
            bucket_door = Some(door);
        }
        let mut options = SuiteOptions::with_provider(&provider.base_url());
        for (name, value) in [
            ("SLIPWAY_CONVERSATION__HEARTBEAT_SECONDS", "1"),
            ("SLIPWAY_PLANNER__HEARTBEAT_MS", "1000"),
            // Faults come one after the other, and what they break off is not given up for that.
            ("SLIPWAY_CONVERSATION__MAX_ATTEMPTS", "20"),
            ("SLIPWAY_PLANNER__MAX_ATTEMPTS", "20"),
        ] {
            options.env.push((name.to_owned(), value.to_owned()));
        }
        let cluster = Cluster::start(&binary(), &options, &Engines { store, bus, bucket, doors: true }).await?;
        Ok(Some(Self {
            cluster,
            postgres,
            nats,
            s3,
            store_door,
            bus_door,
            bucket_door,
            calls,
            database,
            cases: 0,
            _provider: provider,
        }))
    }

    /// The next conversations; their numbers are never used again.
    pub(super) fn next_cases(&mut self, count: usize) -> Vec<Case> {
        let first = self.cases;
        self.cases += count;
        (first..self.cases).map(Case::new).collect()
    }

    /// Clients of every gateway, beginning with another one for each number.
    pub(super) fn clients(&self, number: usize) -> Vec<Client> {
        let mut gateways = self.cluster.gateways();
        let first = number % gateways.len();
        gateways.rotate_left(first);
        gateways.iter().filter_map(|url| Client::connect(url, None).ok()).collect()
    }

    /// Reads the database: each row a line, its columns separated by `|`.
    pub(super) async fn query(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", "--command", sql]);
        let output = psql.arg(&self.database).output().await.context("psql does not start")?;
        ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr).trim());
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Keeps the logs for whoever has to find out why.
    pub(super) fn keep_logs(&self) -> Option<PathBuf> {
        let kept = std::env::temp_dir().join(format!("slipway-faults-{}", std::process::id()));
        std::fs::create_dir_all(&kept).ok()?;
        for entry in std::fs::read_dir(self.cluster.directory()).ok()?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let _ = std::fs::copy(entry.path(), kept.join(entry.file_name()));
            }
        }
        Some(kept)
    }
}

/// A proxy for the server of a URL, and the URL through the proxy.
fn behind_door(url: &str) -> anyhow::Result<(Proxy, String)> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    let target: SocketAddr = address.parse().with_context(|| format!("{url} has no address"))?;
    let door = Proxy::to(target)?;
    let through = url.replacen(address, &door.address().to_string(), 1);
    Ok((door, through))
}
