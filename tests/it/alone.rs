//! Each service alone: six processes over TCP with NATS between them do what one process does.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slipway_testkit::nats::NatsServer;
use slipway_testkit::suite::{Client, free_port};

use crate::story::{self, binary};

const SERVICES: [&str; 6] = ["inference", "file-store", "embedding", "planner", "conversation", "gateway"];

/// Processes that die with the test.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn six_processes_do_what_one_does() {
    let Some(nats) = NatsServer::start().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = SERVICES.iter().map(|_| free_port().unwrap()).collect();
    let mut config =
        format!("data_dir = \"{}\"\n\n[bus]\nurl = \"{}\"\n\n[services]\n", directory.path().join("data").display(), nats.url());
    for (service, port) in SERVICES.iter().zip(&ports).take(5) {
        config.push_str(&format!("{} = \"http://127.0.0.1:{port}\"\n", service.replace('-', "_")));
    }
    let file = directory.path().join("slipway.toml");
    std::fs::write(&file, config).unwrap();
    let mut processes = Processes(Vec::new());
    for (service, port) in SERVICES.iter().zip(&ports) {
        let log = std::fs::File::create(directory.path().join(format!("{service}.log"))).unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", service]).env("SLIPWAY_CONFIG", &file).env("SLIPWAY_LISTEN", format!("127.0.0.1:{port}"));
        command.env("SLIPWAY_TELEMETRY__METRICS_LISTEN", "").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).env_remove("OPENAI_API_KEY").env_remove("OPENROUTER_API_KEY");
        processes.0.push(command.spawn().unwrap());
    }
    for (service, port) in SERVICES.iter().zip(&ports) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
            let log = || std::fs::read_to_string(directory.path().join(format!("{service}.log"))).unwrap_or_default();
            assert!(Instant::now() < deadline, "{service} does not serve: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let client = Client::connect(&format!("http://127.0.0.1:{}", ports[5]), None).unwrap();
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

#[test]
fn a_service_alone_wants_its_neighbours_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "planner"]).current_dir(directory.path()).env("SLIPWAY_DATA_DIR", directory.path());
    let output = command.env("SLIPWAY_LISTEN", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("services.file_store"), "{said}");
}
