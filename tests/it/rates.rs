//! Two gateways that share their rates over NATS: together they let pass what one would, and without NATS nobody is failed.

use std::time::{Duration, Instant};

use slipway_proto::inference::ListModelsRequest;
use slipway_testkit::SuiteOptions;
use slipway_testkit::daemon::Daemon;
use slipway_testkit::nats::NatsServer;
use slipway_testkit::suite::Client;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::story::{binary, reason};

const BURST: u32 = 20;
/// One call in so long comes back.
const INTERVAL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the-key-of-two-gateways-0123456789abcdef";

/// A service and two gateways before it.
struct Gateways {
    gateways: [Daemon; 2],
    urls: [String; 2],
    _inference: Daemon,
    _directory: tempfile::TempDir,
}

impl Gateways {
    async fn start(nats: &NatsServer) -> Gateways {
        let directory = tempfile::tempdir().unwrap();
        let mut options = SuiteOptions::default().with_two_tenants();
        let [carol, green] = [0, 0].map(|_| Uuid::now_v7());
        options.config.push_str(&format!(
            "\n[[gateway.tokens]]\nname = \"carol\"\nsecret = \"carol-0123456789abcdef-0123\"\nuser = \"{carol}\"\n\
             project = \"{green}\"\nscope = \"write\"\n"
        ));
        // NATS is waited for longer than the machine can be busy: what passes depends on no timer.
        options.config.push_str(&format!(
            "\n[gateway.rate_limit]\nshared = true\nwait_ms = 20000\napi = {{ per_minute = 6, burst = {BURST} }}\n\
             \n[bus]\nurl = \"{}\"\n",
            nats.url()
        ));
        std::fs::write(directory.path().join("slipway.toml"), &options.config).unwrap();
        let process = |service: &str, name: &str| {
            let mut daemon = Daemon::new(&binary(), &["serve", service, "--listen", "127.0.0.1:0"], directory.path(), name);
            daemon.set("SLIPWAY_CONFIG", directory.path().join("slipway.toml").display().to_string());
            daemon.set("SLIPWAY_DATA_DIR", directory.path().join(name).display().to_string());
            daemon.set("SLIPWAY_IDENTITY__KEY", KEY);
            daemon
        };
        let mut inference = process("inference", "inference");
        inference.spawn().unwrap();
        let upstream = format!("http://{}", inference.announced().await.unwrap());
        let mut gateways = ["gateway-0", "gateway-1"].map(|name| process("gateway", name));
        let mut urls = Vec::new();
        for gateway in &mut gateways {
            gateway.set("SLIPWAY_SERVICES__INFERENCE", &upstream);
            gateway.spawn().unwrap();
            urls.push(format!("http://{}", gateway.announced().await.unwrap()));
        }
        let urls = [urls.remove(0), urls.remove(0)];
        Gateways { gateways, urls, _inference: inference, _directory: directory }
    }

    /// The user's way to each of them.
    fn clients(&self, secret: &str) -> [Client; 2] {
        self.urls.each_ref().map(|url| Client::connect(url, Some(secret)).unwrap())
    }

    fn logged(&self, what: &str) -> [usize; 2] {
        self.gateways.each_ref().map(|gateway| gateway.log().matches(what).count())
    }
}

async fn call(client: &Client) -> Result<(), Status> {
    client.inference.clone().list_models(ListModelsRequest::default()).await.map(drop)
}

fn assert_limited(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"), "{status:?}");
    let wait = status.get_error_details().retry_info().and_then(|info| info.retry_delay).expect("when to come back");
    assert!(wait > Duration::ZERO && wait <= INTERVAL, "{wait:?}");
}

/// How many more than the burst may have passed since `begun`: those that came back meanwhile.
fn came_back(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_nanos() / INTERVAL.as_nanos()).unwrap() + 1
}

/// Calls of one user through both at once: none passes twice, and none is refused for nothing.
async fn one_rate_for_calls_at_once(gateways: &Gateways) {
    let clients = gateways.clients("alice-write-0123456789abcdef");
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..BURST * 4 {
        let client = clients[number as usize % 2].clone();
        calls.spawn(async move { call(&client).await });
    }
    let mut passed = 0;
    for answer in calls.join_all().await {
        match answer {
            Ok(()) => passed += 1,
            Err(status) => assert_limited(&status),
        }
    }
    assert!((BURST..=BURST + came_back(begun)).contains(&passed), "{passed} in {:?}", begun.elapsed());
}

/// What one lets pass, the other knows of.
async fn what_passes_here_counts_there(gateways: &Gateways) {
    let [here, there] = gateways.clients("bob-write-0123456789abcdef");
    let begun = Instant::now();
    for _ in 0..BURST {
        call(&here).await.unwrap();
    }
    let mut more = 0;
    let refused = loop {
        match call(&there).await {
            Ok(()) => more += 1,
            Err(status) => break status,
        }
        assert!(more <= came_back(begun), "{more} in {:?}", begun.elapsed());
    };
    assert_limited(&refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_have_one_rate_and_fail_nobody_when_nats_is_away() {
    let Some(mut nats) = NatsServer::start().await else { return };
    let gateways = Gateways::start(&nats).await;
    one_rate_for_calls_at_once(&gateways).await;
    what_passes_here_counts_there(&gateways).await;
    assert_eq!(gateways.logged("limits callers by itself"), [0, 0], "NATS has answered all the time");

    nats.kill().await.unwrap();
    let clients = gateways.clients("carol-0123456789abcdef-0123");
    for client in &clients {
        for _ in 0..3 {
            call(client).await.unwrap();
        }
    }
    assert_eq!(gateways.logged("limits callers by itself"), [1, 1], "said once");

    nats.restart().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while gateways.logged("limit callers together again") != [1, 1] {
        for client in &clients {
            if let Err(status) = call(client).await {
                assert_limited(&status);
            }
        }
        assert!(Instant::now() < deadline, "{}", gateways.gateways[0].log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(gateways.logged("limits callers by itself"), [1, 1], "said once");
}
