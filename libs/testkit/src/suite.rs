//! The suite as users run it: the real binary in child processes, on free loopback ports, in a directory of its own.

use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use crate::cluster::{Cluster, Engines};
use crate::daemon::{Daemon, tail};
use crate::nats::NatsServer;
use crate::postgres::Postgres;
use crate::s3::S3;

pub use crate::client::{Bearer, Client, Wire};

/// How a suite is started.
#[derive(Clone, Default)]
pub struct SuiteOptions {
    /// Settings as environment variables, for example `("SLIPWAY_INFERENCE__DEFAULT_MODEL", "fake/scripted")`.
    pub env: Vec<(String, String)>,
    /// The text of a `slipway.toml`; empty: none.
    pub config: String,
}

impl SuiteOptions {
    /// A suite whose default model is the scripted provider.
    pub fn with_provider(base_url: &str) -> Self {
        let config = format!(
            "[inference]\ndefault_model = \"fake/scripted\"\n\n[inference.providers.fake]\nkind = \"openai\"\nbase_url = \"{base_url}\"\nmodels = [\"scripted\"]\n"
        );
        Self { config, env: Vec::new() }
    }

    /// Two tenants: tokens `alice-write`, `alice-read`, `alice-admin` of one project, `bob-write`, `bob-admin` of another.
    #[must_use]
    pub fn with_two_tenants(mut self) -> Self {
        let token = |name: &str, user: &str, project: &str, scope: &str| {
            format!(
                "\n[[gateway.tokens]]\nname = \"{name}\"\nsecret = \"{name}-0123456789abcdef\"\nuser = \"{user}\"\nproject = \"{project}\"\nscope = \"{scope}\"\n"
            )
        };
        let (alice, bob) = ("0197a000-0000-7000-8000-00000000000a", "0197a000-0000-7000-8000-00000000000b");
        let (red, blue) = ("0197a000-0000-7000-8000-0000000000aa", "0197a000-0000-7000-8000-0000000000bb");
        self.config.push_str(&token("alice-write", alice, red, "write"));
        self.config.push_str(&token("alice-read", alice, red, "read"));
        self.config.push_str(&token("alice-admin", alice, red, "admin"));
        self.config.push_str(&token("bob-write", bob, blue, "write"));
        self.config.push_str(&token("bob-admin", bob, blue, "admin"));
        self
    }
}

/// A running suite. Killed when dropped.
///
/// It is `slipway up`, one process with everything embedded; with `SLIPWAY_TEST_SUITE=scale` it is each service in
/// processes of its own on PostgreSQL, NATS and S3. A test does not see which.
pub struct Suite {
    kind: Kind,
}

enum Kind {
    /// One process.
    Up(Box<Up>),
    /// One process per service and replica.
    Scale(Box<Scale>),
}

struct Up {
    daemon: Daemon,
    port: u16,
    _directory: tempfile::TempDir,
}

struct Scale {
    cluster: Cluster,
    _nats: NatsServer,
}

/// Whether suites run at scale.
pub fn at_scale() -> bool {
    std::env::var("SLIPWAY_TEST_SUITE").is_ok_and(|kind| kind == "scale")
}

impl Suite {
    /// Starts the suite and waits until it serves.
    pub async fn start(binary: &Path, options: SuiteOptions) -> anyhow::Result<Self> {
        let kind = match at_scale() {
            true => Kind::Scale(Box::new(Scale::start(binary, &options).await?)),
            false => Kind::Up(Box::new(Up::start(binary, &options).await?)),
        };
        Ok(Self { kind })
    }

    /// Starts everything again on the same data and address, and waits until it serves.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Up(up) => up.restart().await,
            Kind::Scale(scale) => scale.cluster.restart().await,
        }
    }

    /// SIGKILL: no process gets a chance to do anything.
    pub fn kill(&mut self) {
        match &mut self.kind {
            Kind::Up(up) => up.daemon.kill(),
            Kind::Scale(scale) => scale.cluster.kill(),
        }
    }

    /// The id of the process that serves [`Suite::url`].
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Up(up) => up.daemon.pid(),
            Kind::Scale(scale) => {
                let gateways = scale.cluster.replicas_of("gateway");
                gateways.first().and_then(|&number| scale.cluster.members()[number].daemon.pid())
            }
        }
    }

    /// Where clients call.
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Up(up) => format!("http://127.0.0.1:{}", up.port),
            Kind::Scale(scale) => scale.cluster.gateways().swap_remove(0),
        }
    }

    /// Everything that the suite has logged.
    pub fn log(&self) -> String {
        match &self.kind {
            Kind::Up(up) => up.daemon.log(),
            Kind::Scale(scale) => scale.cluster.log(),
        }
    }

    /// Clients without a token, as in local mode.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.url(), None)
    }

    /// Clients with the token of that name; see [`SuiteOptions::with_two_tenants`].
    pub fn client_as(&self, name: &str) -> anyhow::Result<Client> {
        Client::connect(&self.url(), Some(&format!("{name}-0123456789abcdef")))
    }
}

impl Up {
    async fn start(binary: &Path, options: &SuiteOptions) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("slipway-test").tempdir()?;
        let (path, port) = (directory.path(), free_port()?);
        std::fs::write(path.join("slipway.toml"), &options.config)?;
        let mut daemon = Daemon::new(binary, &["up"], path, "slipway");
        daemon.set("SLIPWAY_CONFIG", path.join("slipway.toml").display().to_string());
        daemon.set("SLIPWAY_DATA_DIR", path.join("data").display().to_string());
        daemon.set("SLIPWAY_LISTEN", format!("127.0.0.1:{port}"));
        daemon.set("SLIPWAY_TELEMETRY__METRICS_LISTEN", "");
        daemon.set("SLIPWAY_TELEMETRY__FORMAT", "json");
        for (name, value) in &options.env {
            daemon.set(name, value);
        }
        let mut up = Self { daemon, port, _directory: directory };
        up.restart().await?;
        Ok(up)
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.daemon.spawn()?;
        self.daemon.listening(self.port).await
    }
}

impl Scale {
    async fn start(binary: &Path, options: &SuiteOptions) -> anyhow::Result<Self> {
        let postgres = Postgres::shared().await.context("a suite at scale needs a PostgreSQL server")?;
        let nats = NatsServer::start().await.context("a suite at scale needs a NATS server")?;
        let bucket = match S3::shared().await {
            Some(s3) => Some(s3.bucket()?),
            None => None,
        };
        let engines = Engines { store: postgres.database().await?, bus: nats.url(), bucket, doors: false };
        Ok(Self { cluster: Cluster::start(binary, options, &engines).await?, _nats: nats })
    }
}

impl Drop for Suite {
    #[allow(clippy::print_stderr, reason = "the log of a failed test is what its reader needs")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let tail = match &self.kind {
                Kind::Up(up) => tail(&up.daemon.log(), 60),
                Kind::Scale(scale) => scale.cluster.tail(12),
            };
            eprintln!("--- the suite's log, its last lines ---\n{tail}");
        }
    }
}

/// What [`free_port`] chooses from.
const PORTS: Range<u16> = 10_000..32_000;

/// A port that is free now and that nothing else asks for: below the ports that systems hand out to whoever connects
/// (RFC 6335 section 6 leaves those from 49152 on to them, Linux those from 32768 on), and told once in this process.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(37)));
    for _ in 0..PORTS.len() {
        let port = PORTS.start + (next.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}
