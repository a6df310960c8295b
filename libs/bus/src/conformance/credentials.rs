//! A server that lets in whom its operator knows: the bus shows the credentials of a file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use slipway_testkit::nats::NatsServer;

use super::nats::patience;
use super::{Recorder, Running, event};
use crate::{Bus, Settings};

/// A token as NATS wants it: `signer` says this about `subject`.
fn token(signer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let claims = json!({
        "jti": "1", "iat": 1, "iss": signer.public_key(), "name": "slipway", "sub": subject.public_key(), "nats": nats,
    });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = signer.sign(text.as_bytes()).expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The credentials of a user that `account` has let in.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let (token, seed) = (token(account, &user, claims), user.seed().expect("a seed"));
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The configuration of a server with one account.
fn configuration(account: &KeyPair) -> String {
    let operator = KeyPair::new_operator();
    let unlimited =
        ["subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams", "consumer"];
    let mut limits: serde_json::Map<String, Value> = unlimited.map(|name| (name.to_owned(), json!(-1))).into_iter().collect();
    limits.insert("wildcards".to_owned(), json!(true));
    let known = token(&operator, &operator, json!({ "type": "operator", "version": 2 }));
    let account_token = token(&operator, account, json!({ "type": "account", "version": 2, "limits": limits }));
    format!("operator: {known}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_token} }}\n", account.public_key())
}

fn settings(server: &NatsServer, file: &Path) -> Settings {
    Settings { url: server.url(), credentials: file.display().to_string(), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_lets_in_whom_the_file_makes_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let [config, good, forged] = ["nats.conf", "good.creds", "forged.creds"].map(|name| dir.path().join(name));
    let account = KeyPair::new_account();
    std::fs::write(&config, configuration(&account)).expect("written");
    std::fs::write(&good, credentials(&account)).expect("written");
    std::fs::write(&forged, credentials(&KeyPair::new_account())).expect("written");
    let Some(server) = NatsServer::configured(&config).await else { return };

    let stranger = Bus::on(&settings(&server, &forged), patience()).await.expect("well formed");
    let sent = event("revision.committed", "w", "");
    let refused = stranger.publish(&sent).await.expect_err("the server knows nobody of that account");
    assert!(refused.is_unavailable(), "{refused}");

    let bus = Bus::connect(&settings(&server, &good)).await.expect("well formed");
    let recorder = Recorder::refusing(0);
    bus.subscribe("recorder", ">", recorder.clone()).await.expect("subscribed");
    let running = Running::start(&bus);
    running.publish(&sent).await;
    assert_eq!(recorder.wait_for(1).await, [sent]);
    running.stop().await;
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (missing, broken) = (dir.path().join("missing.creds"), dir.path().join("broken.creds"));
    std::fs::write(&broken, "not credentials").expect("written");
    for file in [missing, broken] {
        let credentials = file.display().to_string();
        let settings = Settings { url: "nats://127.0.0.1:1".into(), credentials: credentials.clone(), ..Settings::default() };
        let error = Bus::connect(&settings).await.expect_err("it is refused").to_string();
        assert!(error.contains("bus.credentials") && error.contains(&credentials), "{error}");
    }
}
