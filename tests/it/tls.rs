//! Mutual TLS between processes, and TLS at the front door.

use std::path::Path;
use std::process::{Command, Stdio};

use slipway_testkit::daemon::Daemon;
use slipway_testkit::suite::free_port;

use crate::story::binary;

/// Certificates for `localhost`, made by the `openssl` that every Debian has.
fn certificates(dir: &Path) {
    let run = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority");
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr -subj /CN=slipway");
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n").unwrap();
    run("x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out tls.crt");
}

#[tokio::test]
async fn processes_show_each_other_their_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    certificates(directory.path());
    let (files, gateway) = (free_port().unwrap(), free_port().unwrap());
    let mut daemons = Vec::new();
    for (service, port) in [("file-store", files), ("gateway", gateway)] {
        let listen = format!("127.0.0.1:{port}");
        let mut daemon = Daemon::new(&binary(), &["serve", service, "--listen", &listen], directory.path(), service);
        daemon.set("SLIPWAY_DATA_DIR", path("data"));
        daemon.set("SLIPWAY_TELEMETRY__METRICS_LISTEN", "");
        daemon.set("SLIPWAY_IDENTITY__KEY", "0123456789abcdef0123456789abcdef");
        daemon.set("SLIPWAY_SERVICES__FILE_STORE", format!("https://localhost:{files}"));
        for (name, file) in [("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")] {
            daemon.set(&format!("SLIPWAY_TLS__{name}"), path(file));
        }
        daemon.set("SLIPWAY_GATEWAY__TLS__CERT", path("tls.crt"));
        daemon.set("SLIPWAY_GATEWAY__TLS__KEY", path("tls.key"));
        daemon.spawn().unwrap();
        daemon.listening(port).await.unwrap();
        daemons.push(daemon);
    }
    let create = |server: String, ca: Option<String>| {
        let mut command = Command::new(binary());
        command.args(["workspace", "create", "over-tls", "--server", &server]).stdin(Stdio::null());
        command.args(ca.iter().flat_map(|ca| ["--ca", ca.as_str()])).env("SLIPWAY_DATA_DIR", directory.path());
        command.output().unwrap()
    };
    let made = create(format!("https://localhost:{gateway}"), Some(path("ca.crt")));
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(made.status.success(), "{}\n{}", said(&made), daemons.iter().map(Daemon::log).collect::<String>());
    assert!(!create(format!("http://localhost:{gateway}"), None).status.success(), "the front door speaks TLS only");
    let stranger = create(format!("https://localhost:{files}"), Some(path("ca.crt")));
    assert!(!stranger.status.success(), "a service wants a certificate of its callers");
}
