//! The suite as it runs at scale: each service in processes of its own, most of them twice, on engines that all share.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::process::signal;
use crate::proxy::Proxy;
use crate::suite::SuiteOptions;

/// Every service with the number of its replicas. The gateways come last: each has a door of its own.
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
}

/// One process.
pub struct Member {
    /// The service, as `slipway serve` names it.
    pub service: &'static str,
    /// Counts the replicas of a service from 0.
    pub replica: usize,
    /// Its process.
    pub daemon: Daemon,
}

/// The processes, each service behind a proxy that its neighbours call.
pub struct Cluster {
    members: Vec<Member>,
    doors: Vec<Door>,
    directory: TempDir,
}

/// The proxy in front of a service's replicas, or of one gateway.
struct Door {
    service: &'static str,
    replica: Option<usize>,
    proxy: Proxy,
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
        let mut cluster = Self { members: Vec::new(), doors: Vec::new(), directory };
        for (service, replicas) in REPLICAS {
            if service == "gateway" {
                for replica in 0..replicas {
                    cluster.doors.push(Door { service, replica: Some(replica), proxy: Proxy::start(1)? });
                }
            } else {
                cluster.doors.push(Door { service, replica: None, proxy: Proxy::start(replicas)? });
            }
        }
        let common = cluster.settings(options, engines);
        for (service, replicas) in REPLICAS {
            for replica in 0..replicas {
                let member = cluster.member(binary, service, replica, &common);
                cluster.members.push(member);
            }
        }
        Ok(cluster)
    }

    /// What all processes are told.
    fn settings(&self, options: &SuiteOptions, engines: &Engines) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = [
            ("SLIPWAY_CONFIG", self.directory.path().join("slipway.toml").display().to_string()),
            ("SLIPWAY_STORE__URL", engines.store.clone()),
            ("SLIPWAY_BUS__URL", engines.bus.clone()),
            ("SLIPWAY_IDENTITY__KEY", KEY.to_owned()),
            ("SLIPWAY_FILE_STORE__BLOBS", self.directory.path().join("blobs").display().to_string()),
            ("SLIPWAY_TELEMETRY__FORMAT", "json".to_owned()),
            ("SLIPWAY_TELEMETRY__METRICS_LISTEN", String::new()),
            // A test that kills a process waits for its leases to run out.
            ("SLIPWAY_CONVERSATION__LEASE_SECONDS", "3".to_owned()),
            ("SLIPWAY_PLANNER__LEASE_MS", "3000".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for door in self.doors.iter().filter(|door| door.replica.is_none()) {
            let name = format!("SLIPWAY_SERVICES__{}", door.service.replace('-', "_").to_uppercase());
            all.push((name, format!("http://{}", door.proxy.address())));
        }
        all.extend(options.env.iter().cloned());
        all
    }

    fn member(&self, binary: &Path, service: &'static str, replica: usize, common: &[(String, String)]) -> Member {
        let name = format!("{service}-{replica}");
        let arguments = ["serve", service, "--listen", "127.0.0.1:0"];
        let mut daemon = Daemon::new(binary, &arguments, self.directory.path(), &name);
        for (name, value) in common {
            daemon.set(name, value);
        }
        if (service, replica) != ("gateway", 0) {
            daemon.set(OF_ONE, "");
        }
        daemon.set("SLIPWAY_DATA_DIR", self.directory.path().join(&name).display().to_string());
        Member { service, replica, daemon }
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

    /// Waits until a process that was started serves, and tells its door.
    pub async fn wait(&mut self, number: usize) -> anyhow::Result<()> {
        let address = self.members[number].daemon.announced().await?;
        self.aim(number, Some(address));
        Ok(())
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
        self.aim(number, None);
    }

    /// Sends a signal to one; see [`signal`].
    pub async fn signal_one(&self, number: usize, name: &str) -> anyhow::Result<()> {
        let pid = self.members[number].daemon.pid().context("the process does not run")?;
        signal(pid, name).await
    }

    fn aim(&self, number: usize, address: Option<std::net::SocketAddr>) {
        let member = &self.members[number];
        for door in self.doors.iter().filter(|door| door.service == member.service) {
            match door.replica {
                None => door.proxy.aim(member.replica, address),
                Some(replica) if replica == member.replica => door.proxy.aim(0, address),
                Some(_) => {}
            }
        }
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

    /// The proxies that lead to a service.
    pub fn doors_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Proxy> {
        self.doors.iter().filter(move |door| door.service == service).map(|door| &door.proxy)
    }

    /// Where each gateway is reached.
    pub fn gateways(&self) -> Vec<String> {
        self.doors_of("gateway").map(|proxy| format!("http://{}", proxy.address())).collect()
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
            let log = member.daemon.log();
            let mut last: Vec<&str> = log.lines().rev().take(lines).collect();
            last.reverse();
            text.push_str(&format!("--- {}-{}\n{}\n", member.service, member.replica, last.join("\n")));
        }
        text
    }
}
