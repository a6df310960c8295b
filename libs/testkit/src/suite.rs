//! The suite as users run it: the real binary as a child process, on free loopback ports, in a directory of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use slipway_proto::conversation::conversation_service_client::ConversationServiceClient;
use slipway_proto::embedding::embedding_service_client::EmbeddingServiceClient;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::planner::planner_service_client::PlannerServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

const START_LIMIT: Duration = Duration::from_secs(30);

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

    /// Two tenants: tokens `alice-write`, `alice-read` of one project and `bob-write` of another.
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
        self.config.push_str(&token("bob-write", bob, blue, "write"));
        self
    }
}

/// A running suite. Killed when dropped.
pub struct Suite {
    binary: PathBuf,
    options: SuiteOptions,
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Suite {
    /// Starts `slipway up` and waits until it serves.
    pub async fn start(binary: &Path, options: SuiteOptions) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("slipway-test").tempdir()?;
        std::fs::write(directory.path().join("slipway.toml"), &options.config)?;
        let mut suite = Self { binary: binary.to_owned(), options, directory, port: free_port()?, child: None };
        suite.restart().await?;
        Ok(suite)
    }

    /// Starts the process again on the same data and port, and waits until it serves.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(&self.binary);
        command.arg("up").current_dir(self.directory.path()).env_remove("OPENAI_API_KEY").env_remove("OPENROUTER_API_KEY");
        command.env("SLIPWAY_CONFIG", self.directory.path().join("slipway.toml"));
        command.env("SLIPWAY_DATA_DIR", self.data_dir()).env("SLIPWAY_LISTEN", format!("127.0.0.1:{}", self.port));
        command.env("SLIPWAY_TELEMETRY__METRICS_LISTEN", "").env("SLIPWAY_TELEMETRY__FORMAT", "json");
        command.envs(self.options.env.iter().cloned());
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("starting slipway")?);
        self.wait_until_serving().await
    }

    async fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("slipway ended with {status}:\n{}", self.log());
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!("slipway does not serve after {START_LIMIT:?}:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL: the process gets no chance to do anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only when it is dead already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where the gateway listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The suite's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("slipway.log")
    }

    /// Everything that the process has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
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

impl Drop for Suite {
    #[allow(clippy::print_stderr, reason = "the log of a failed test is what its reader needs")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the suite's log, its last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Puts the token into each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A TCP channel to the gateway.
pub type Wire = InterceptedService<Channel, Bearer>;

/// One client of each public service.
#[derive(Clone)]
pub struct Client {
    /// Conversations.
    pub conversation: ConversationServiceClient<Wire>,
    /// Plans.
    pub planner: PlannerServiceClient<Wire>,
    /// Files.
    pub files: FileStoreServiceClient<Wire>,
    /// Search.
    pub embedding: EmbeddingServiceClient<Wire>,
    /// Models.
    pub inference: InferenceServiceClient<Wire>,
    /// For calls that no generated client makes.
    pub wire: Wire,
}

impl Client {
    /// Clients of the gateway at `url`; they connect at the first call.
    pub fn connect(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let bearer = token.map(|t| format!("Bearer {t}").parse()).transpose()?;
        let wire = InterceptedService::new(Endpoint::from_shared(url.to_owned())?.connect_lazy(), Bearer(bearer));
        Ok(Self {
            conversation: ConversationServiceClient::new(wire.clone()),
            planner: PlannerServiceClient::new(wire.clone()),
            files: FileStoreServiceClient::new(wire.clone()),
            embedding: EmbeddingServiceClient::new(wire.clone()),
            inference: InferenceServiceClient::new(wire.clone()),
            wire,
        })
    }
}
