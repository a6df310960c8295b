//! The suite as it runs at scale: each service in processes of its own, most of them twice, on engines that all share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::daemon::{Daemon, tail};
use crate::process::signal;
use crate::proxy::Proxy;
use crate::s3::Bucket;
use crate::suite::SuiteOptions;

/// Every service with the number of its replicas.
pub const REPLICAS: [(&str, usize); 6] =
    [("inference", 1), ("file-store", 2), ("embedding", 1), ("planner", 2), ("conversation", 2), ("gateway", 2)];
const KEY: &str = "the-key-of-a-suite-under-test-0123456789";
/// The settings whose value is one process's own: they are the first gateway's only.
const OF_ONE: &str = "SLIPWAY_TELEMETRY__METRICS_LISTEN";

/// Where the engines are.
#[derive(Clone, Debug)]
pub struct Engines {
    /// `postgres://…` of an empty database.
    pub store: String,
    /// `nats://…`.
    pub bus: String,
    /// Where file contents lie; without it in a directory that the replicas share.
    pub bucket: Option<Bucket>,
    /// Whether there is a proxy before every process, so that it can be cut off.
    pub doors: bool,
}

/// One process.
pub struct Member {
    /// The service, as `slipway serve` names it.
    pub service: &'static str,
    /// Counts the replicas of a service from 0.
    pub replica: usize,
    /// Its process.
    pub daemon: Daemon,
    /// Where it listens.
    pub address: SocketAddr,
    /// The way that neighbours and clients take to it, where there is one.
    pub door: Option<Proxy>,
}

/// The processes of a suite.
pub struct Cluster {
    members: Vec<Member>,
    directory: TempDir,
}

/// An address of this machine that nobody else uses: a port of 127.0.0.1 could be taken by any outgoing connection.
fn own_address() -> SocketAddr {
    let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
    SocketAddr::from(([127, a | 1, b, c | 1], 50051))
}

impl Cluster {
    /// Starts everything and waits until it serves.
    pub async fn start(binary: &Path, options: &SuiteOptions, engines: &Engines) -> anyhow::Result<Self> {
        let mut cluster = Self::build(binary, options, engines)?;
        cluster.restart().await?;
        Ok(cluster)
    }

    fn build(binary: &Path, options: &SuiteOptions, engines: &Engines) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("slipway-cluster").tempdir()?;
        std::fs::write(directory.path().join("slipway.toml"), &options.config)?;
        let mut cluster = Self { members: Vec::new(), directory };
        for (service, replicas) in REPLICAS {
            for replica in 0..replicas {
                let address = own_address();
                let door = engines.doors.then(|| Proxy::to(address)).transpose()?;
                let arguments = ["serve", service, "--listen", &address.to_string()];
                let daemon = Daemon::new(binary, &arguments, cluster.directory.path(), &format!("{service}-{replica}"));
                cluster.members.push(Member { service, replica, daemon, address, door });
            }
        }
        cluster.configure(options, engines);
        Ok(cluster)
    }

    /// Tells every process its settings.
    fn configure(&mut self, options: &SuiteOptions, engines: &Engines) {
        let mut common = self.common(engines);
        common.extend(options.env.iter().cloned());
        for member in &mut self.members {
            for (name, value) in &common {
                member.daemon.set(name, value);
            }
            if (member.service, member.replica) != ("gateway", 0) {
                member.daemon.set(OF_ONE, "");
            }
            let data = self.directory.path().join(format!("{}-{}", member.service, member.replica));
            member.daemon.set("SLIPWAY_DATA_DIR", data.display().to_string());
        }
    }

    fn common(&self, engines: &Engines) -> Vec<(String, String)> {
        let mut all: Vec<(&str, String)> = vec![
            ("SLIPWAY_CONFIG", self.directory.path().join("slipway.toml").display().to_string()),
            ("SLIPWAY_STORE__URL", engines.store.clone()),
            ("SLIPWAY_BUS__URL", engines.bus.clone()),
            ("SLIPWAY_IDENTITY__KEY", KEY.to_owned()),
            ("SLIPWAY_TELEMETRY__FORMAT", "json".to_owned()),
            (OF_ONE, String::new()),
            // A test that kills a process waits for its leases to run out.
            ("SLIPWAY_CONVERSATION__LEASE_SECONDS", "3".to_owned()),
            ("SLIPWAY_PLANNER__LEASE_MS", "3000".to_owned()),
        ];
        match &engines.bucket {
            None => all.push(("SLIPWAY_FILE_STORE__BLOBS", self.directory.path().join("blobs").display().to_string())),
            Some(bucket) => all.extend([
                ("SLIPWAY_FILE_STORE__S3__BUCKET", bucket.name.clone()),
                ("SLIPWAY_FILE_STORE__S3__REGION", bucket.region.to_owned()),
                ("SLIPWAY_FILE_STORE__S3__ENDPOINT", bucket.endpoint.clone()),
                ("SLIPWAY_FILE_STORE__S3__ACCESS_KEY_ID", bucket.access_key.to_owned()),
                ("SLIPWAY_FILE_STORE__S3__SECRET_ACCESS_KEY", bucket.secret_key.to_owned()),
                ("SLIPWAY_FILE_STORE__S3__ALLOW_HTTP", "true".to_owned()),
            ]),
        }
        let mut all: Vec<_> = all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (service, _) in REPLICAS.iter().filter(|(service, _)| *service != "gateway") {
            let name = format!("SLIPWAY_SERVICES__{}", service.replace('-', "_").to_uppercase());
            all.push((name, self.urls_of(service).join(",")));
        }
        all
    }

    /// Kills what runs, starts every process and waits until all serve.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        for number in 0..self.members.len() {
            self.members[number].daemon.spawn()?;
        }
        for number in 0..self.members.len() {
            self.wait(number).await?;
        }
        Ok(())
    }

    /// Starts one process, killing the one before, and waits until it serves.
    pub async fn restart_one(&mut self, number: usize) -> anyhow::Result<()> {
        self.kill_one(number);
        self.members[number].daemon.spawn()?;
        self.wait(number).await
    }

    /// Waits until a process that was started serves.
    pub async fn wait(&mut self, number: usize) -> anyhow::Result<()> {
        self.members[number].daemon.announced().await.map(drop)
    }

    /// SIGKILL to all at once.
    pub fn kill(&mut self) {
        for member in &mut self.members {
            member.daemon.strike();
        }
        for number in 0..self.members.len() {
            self.kill_one(number);
        }
    }

    /// SIGKILL to one.
    pub fn kill_one(&mut self, number: usize) {
        self.members[number].daemon.kill();
    }

    /// Sends a signal to one; see [`signal`].
    pub async fn signal_one(&self, number: usize, name: &str) -> anyhow::Result<()> {
        let pid = self.members[number].daemon.pid().context("the process does not run")?;
        signal(pid, name).await
    }

    /// All processes; what their numbers refer to.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One process.
    pub fn member_mut(&mut self, number: usize) -> &mut Member {
        &mut self.members[number]
    }

    /// The numbers of a service's processes.
    pub fn replicas_of(&self, service: &str) -> Vec<usize> {
        (0..self.members.len()).filter(|&number| self.members[number].service == service).collect()
    }

    /// The ways to a service's processes.
    pub fn doors_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Proxy> {
        self.members.iter().filter(move |member| member.service == service).filter_map(|member| member.door.as_ref())
    }

    fn urls_of(&self, service: &str) -> Vec<String> {
        let members = self.members.iter().filter(|member| member.service == service);
        let address = |member: &Member| member.door.as_ref().map_or(member.address, Proxy::address);
        members.map(|member| format!("http://{}", address(member))).collect()
    }

    /// Where each gateway is reached.
    pub fn gateways(&self) -> Vec<String> {
        self.urls_of("gateway")
    }

    /// Everything below which the processes keep files.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The logs of all processes, one after the other.
    pub fn log(&self) -> String {
        self.members.iter().map(|member| member.daemon.log()).collect()
    }

    /// The last lines of every log.
    pub fn tail(&self, lines: usize) -> String {
        let mut text = String::new();
        for member in &self.members {
            text.push_str(&format!("--- {}-{}\n{}\n", member.service, member.replica, tail(&member.daemon.log(), lines)));
        }
        text
    }
}
