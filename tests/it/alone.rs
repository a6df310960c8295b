//! Each service alone: six processes over TCP with NATS between them do what one process does.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use slipway_proto::conversation::{RunEvent, SendMessageRequest, run_event};
use slipway_proto::planner::ListPlansRequest;
use slipway_testkit::nats::NatsServer;
use slipway_testkit::suite::{Client, free_port};
use slipway_testkit::{Provider, Step, SuiteOptions};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::story::{self, binary};

const SERVICES: [&str; 6] = ["inference", "file-store", "embedding", "planner", "conversation", "gateway"];

/// Processes that die with the test.
struct Processes {
    directory: TempDir,
    ports: Vec<u16>,
    children: Vec<Child>,
    _nats: NatsServer,
}

impl Drop for Processes {
    #[allow(clippy::print_stderr, reason = "the logs of a failed test are what its reader needs")]
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for service in SERVICES {
                let log = std::fs::read_to_string(self.directory.path().join(format!("{service}.log"))).unwrap_or_default();
                eprintln!("--- the last lines of {service} ---\n{}", slipway_testkit::daemon::tail(&log, 20));
            }
        }
    }
}

impl Processes {
    /// All six with these settings besides the addresses; nothing where there is no NATS server to run.
    async fn start(settings: &str) -> Option<Self> {
        let nats = NatsServer::start().await?;
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = SERVICES.iter().map(|_| free_port().unwrap()).collect();
        let data = directory.path().join("data");
        let mut config = format!("data_dir = \"{}\"\n\n[bus]\nurl = \"{}\"\n\n[services]\n", data.display(), nats.url());
        for (service, port) in SERVICES.iter().zip(&ports).take(5) {
            config.push_str(&format!("{} = \"http://127.0.0.1:{port}\"\n", service.replace('-', "_")));
        }
        std::fs::write(directory.path().join("slipway.toml"), config + "\n" + settings).unwrap();
        let mut processes = Self { directory, ports, children: Vec::new(), _nats: nats };
        processes.children = (0..SERVICES.len()).map(|n| processes.spawn(n)).collect();
        for n in 0..SERVICES.len() {
            processes.wait(n).await;
        }
        Some(processes)
    }

    fn spawn(&self, n: usize) -> Child {
        let (service, port) = (SERVICES[n], self.ports[n]);
        let log = std::fs::File::create(self.directory.path().join(format!("{service}.log"))).unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", service]).env("SLIPWAY_CONFIG", self.directory.path().join("slipway.toml"));
        command.env("SLIPWAY_LISTEN", format!("127.0.0.1:{port}"));
        command.env("SLIPWAY_TELEMETRY__METRICS_LISTEN", "").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        for variable in slipway_testkit::daemon::PROVIDER_VARIABLES {
            command.env_remove(variable);
        }
        command.spawn().unwrap()
    }

    /// Waits until a service accepts connections.
    async fn wait(&self, n: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.ports[n])).await.is_err() {
            let log = || std::fs::read_to_string(self.directory.path().join(format!("{}.log", SERVICES[n]))).unwrap_or_default();
            assert!(Instant::now() < deadline, "{} does not serve: {}", SERVICES[n], log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a service, as `kill -9` does, and starts it again.
    async fn replace(&mut self, service: &str) {
        let n = SERVICES.iter().position(|s| *s == service).unwrap();
        self.children[n].kill().unwrap();
        self.children[n].wait().unwrap();
        self.children[n] = self.spawn(n);
        self.wait(n).await;
    }

    fn client(&self) -> Client {
        Client::connect(&format!("http://127.0.0.1:{}", self.ports[5]), None).unwrap()
    }
}

#[tokio::test]
async fn six_processes_do_what_one_does() {
    if story::only_for_one_process("six_processes_do_what_one_does", "it starts its own processes either way") {
        return;
    }
    let Some(processes) = Processes::start("").await else { return };
    let client = processes.client();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    story::indexed(&client, &workspace, 1).await;
    let conversation = story::conversation(&client, &workspace).await;
    let (_, answer) = story::completed(&story::say(&client, &conversation.id, "How many gateway replicas run?").await);
    assert!(answer.text.contains("replicas: 1") && !answer.citations.is_empty(), "{answer:?}");
    let (run, _) = story::completed(&story::say(&client, &conversation.id, "set gateway.replicas to 3").await);
    assert!(!run.plan_id.is_empty());
    story::completed(&story::say(&client, &conversation.id, "go ahead").await);
    assert!(story::read(&client, &workspace, "", "values.yaml").await.unwrap().contains("  replicas: 3\n"));
    story::indexed(&client, &workspace, 2).await;
}

#[tokio::test]
async fn a_run_outlives_the_neighbour_that_it_waits_for() {
    if story::only_for_one_process("a_run_outlives_the_neighbour_that_it_waits_for", "it starts its own processes either way") {
        return;
    }
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let provider = Provider::start(move |_| {
        let step = json!({"path": "values.yaml", "action": "update", "reason": "as asked"});
        vec![Step::Gate(wait.clone()), Step::Call("submit_plan".into(), json!({"summary": "an edit", "steps": [step]}))]
    });
    let provider = provider.await.unwrap();
    let settings = SuiteOptions::with_provider(&provider.base_url()).config;
    let Some(mut processes) = Processes::start(&settings).await else { return };
    let client = processes.client();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let conversation = story::conversation(&client, &workspace).await;
    let request =
        SendMessageRequest { conversation_id: conversation.id, text: "set gateway.replicas to 3".into(), ..Default::default() };
    let mut stream = client.conversation.clone().send_message(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while !events.last().is_some_and(|e: &RunEvent| matches!(e.event, Some(run_event::Event::Plan(_)))) {
        events.push(stream.message().await.unwrap().unwrap().event.unwrap());
    }
    processes.replace("planner").await;
    gate.add_permits(10);
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event.event.unwrap());
    }
    let (run, _) = story::completed(&events);
    let made = ListPlansRequest { workspace_id: workspace, ..Default::default() };
    let plans = client.planner.clone().list_plans(made).await.unwrap().into_inner().plans;
    assert_eq!(plans.iter().map(|p| &p.id).collect::<Vec<_>>(), [&run.plan_id], "one plan");
}

#[test]
fn a_service_alone_wants_its_neighbours_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "planner"]).current_dir(directory.path()).env("SLIPWAY_DATA_DIR", directory.path());
    let output = command.env("SLIPWAY_LISTEN", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("services.file_store"), "{said}");
}
