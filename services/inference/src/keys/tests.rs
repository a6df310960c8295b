//! Projects' own keys through the service's door, against a provider that tells which key it was called with.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, header};
use axum::response::IntoResponse as _;
use slipway_proto::inference as pb;
use slipway_rpc::{Ctx, Fault, ProjectId, Reason, UserId};
use tonic::Code;
use uuid::Uuid;

use crate::tests::{Suite, deps, prompt, suite_in, suite_on};

const PLANTED: &str = "sk-planted-0123456789abcdef";
const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEK: &str = "HxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4=";

/// A provider that answers with the last four characters of the key that it got.
async fn provider() -> String {
    let complete = |headers: HeaderMap| async move {
        let key = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
        let text =
            serde_json::json!({"choices": [{"index": 0, "delta": {"content": key[key.len() - 4..]}, "finish_reason": "stop"}]});
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        ([(header::CONTENT_TYPE, "text/event-stream")], format!("data: {text}\n\ndata: {usage}\n\ndata: [DONE]\n\n"))
            .into_response()
    };
    let router = axum::Router::new().route("/v1/chat/completions", axum::routing::post(complete));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!(
        "[providers.p]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\napi_key = \"sk-of-the-server-0000\"\nmax_retries = 0\n"
    )
}

fn keyed(settings: &str, kek: &str) -> String {
    format!("[keys]\nencryption_key = \"{kek}\"\n{settings}")
}

async fn add(suite: &Suite, ctx: &Ctx, key: &str) -> Result<pb::StoredProviderKey, Fault> {
    let request = pb::CreateProviderKeyRequest { provider: "p".into(), key: key.into(), title: "ours".into() };
    let answer = suite.keys.clone().create_provider_key(ctx.request(request)).await;
    answer.map(|a| a.into_inner().provider_key.unwrap()).map_err(|s| Fault::from_status(&s))
}

async fn list(suite: &Suite, ctx: &Ctx) -> Vec<pb::StoredProviderKey> {
    let request = ctx.request(pb::ListProviderKeysRequest::default());
    suite.keys.clone().list_provider_keys(request).await.unwrap().into_inner().provider_keys
}

async fn ask(suite: &Suite, ctx: &Ctx) -> Result<String, Fault> {
    let request = ctx.request(pb::CompleteRequest { prompt: prompt("p/m", "whose key is it?") });
    let answer = suite.client.clone().complete(request).await.map_err(|s| Fault::from_status(&s))?;
    Ok(answer.into_inner().completion.unwrap().text)
}

fn stranger() -> Ctx {
    Ctx::background(ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()), "")
}

#[tokio::test]
async fn a_projects_calls_take_its_own_key_and_nobody_elses_do() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite_in(&keyed(&provider().await, KEK), &dir).await;
    assert_eq!(ask(&suite, &suite.ctx).await.unwrap(), "0000");
    let key = add(&suite, &suite.ctx, &format!(" {PLANTED}\n")).await.unwrap();
    assert_eq!((key.last_four.as_str(), key.fingerprint.len()), ("cdef", 16));
    assert_eq!(ask(&suite, &suite.ctx).await.unwrap(), "cdef");
    assert_eq!(list(&suite, &suite.ctx).await, std::slice::from_ref(&key));

    let other = stranger();
    assert_eq!(ask(&suite, &other).await.unwrap(), "0000");
    assert!(list(&suite, &other).await.is_empty());
    let delete = pb::DeleteProviderKeyRequest { provider_key_id: key.id.clone() };
    let refused = suite.keys.clone().delete_provider_key(other.request(delete.clone())).await.unwrap_err();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::ProviderKeyNotFound);

    let rotate = pb::RotateProviderKeyRequest { provider_key_id: key.id.clone(), key: "sk-another-key-of-ours-9999".into() };
    let rotated = suite.keys.clone().rotate_provider_key(suite.ctx.request(rotate)).await.unwrap().into_inner();
    assert_eq!(rotated.provider_key.unwrap().last_four, "9999");
    assert_eq!(ask(&suite, &suite.ctx).await.unwrap(), "9999");
    suite.keys.clone().delete_provider_key(suite.ctx.request(delete)).await.unwrap();
    assert_eq!(ask(&suite, &suite.ctx).await.unwrap(), "0000");
}

#[tokio::test]
async fn no_key_is_in_the_database_or_the_logs() {
    let logs = Arc::new(Mutex::new(Vec::new()));
    let writer = logs.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || Shared(writer.clone())).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // While there is only one, a place that logs is switched off for good by the first thread that has none.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let dir = tempfile::tempdir().unwrap();
    let suite = suite_in(&keyed(&provider().await, KEK), &dir).await;
    add(&suite, &suite.ctx, PLANTED).await.unwrap();
    assert_eq!(ask(&suite, &suite.ctx).await.unwrap(), "cdef");
    let long = format!("{PLANTED}{}", "x".repeat(600));
    assert!(!format!("{:?}", add(&suite, &suite.ctx, &long).await.unwrap_err()).contains("planted"));

    let logs = String::from_utf8_lossy(&logs.lock().unwrap()).into_owned();
    assert!(logs.contains("a provider's key was stored"), "nothing was logged at all");
    assert!(!logs.contains("planted"), "{logs}");
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(PLANTED.len()).any(|w| w == PLANTED.as_bytes()));
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_wrong_or_missing_key_encryption_key_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let provider = provider().await;
    let none = suite_in(&provider, &dir).await;
    let refused = add(&none, &none.ctx, PLANTED).await.unwrap_err();
    assert_eq!((refused.reason(), refused.code()), (Reason::EncryptionKeyMissing, Code::FailedPrecondition));
    assert!(refused.message().contains("SLIPWAY_INFERENCE__KEYS__ENCRYPTION_KEY"), "{refused}");
    drop(none);

    let first = suite_in(&keyed(&provider, KEK), &dir).await;
    let ctx = first.ctx.clone();
    let stored = add(&first, &ctx, PLANTED).await.unwrap();
    drop(first);

    // The server's own key would be another account: the call fails instead.
    let wrong = suite_in(&keyed(&provider, OTHER_KEK), &dir).await;
    let refused = ask(&wrong, &ctx).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::EncryptionKeyMissing);
    assert!(refused.message().contains(&stored.encryption_key_id), "{refused}");
    drop(wrong);

    // Without any it does not even start: nobody would notice whose account pays.
    let error = suite_on(&provider, deps(&dir).await).await.err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("SLIPWAY_INFERENCE__KEYS__ENCRYPTION_KEY"), "{cause}");

    let rotated = format!("[keys]\nencryption_key = \"{OTHER_KEK}\"\nold_encryption_keys = [\"{KEK}\"]\n{provider}");
    let rotated = suite_in(&rotated, &dir).await;
    assert_eq!(ask(&rotated, &ctx).await.unwrap(), "cdef");
}

#[tokio::test]
async fn a_key_for_a_provider_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite_in(&keyed(&provider().await, KEK), &dir).await;
    for provider in ["nobody", "builtin"] {
        let request = pb::CreateProviderKeyRequest { provider: provider.into(), key: PLANTED.into(), title: String::new() };
        let refused = suite.keys.clone().create_provider_key(suite.ctx.request(request)).await.unwrap_err();
        assert_eq!(Fault::from_status(&refused).reason(), Reason::ProviderNotConfigured, "{provider}");
    }
}

async fn rewrap(suite: &Suite, ctx: &Ctx) -> Result<pb::RewrapProviderKeysResponse, Fault> {
    let answer = suite.keys.clone().rewrap_provider_keys(ctx.request(pb::RewrapProviderKeysRequest {})).await;
    answer.map(|a| a.into_inner()).map_err(|s| Fault::from_status(&s))
}

#[tokio::test]
async fn an_old_key_encryption_key_can_go_once_all_keys_are_encrypted_anew() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), provider().await);
    let both = format!("[keys]\nencryption_key = \"{OTHER_KEK}\"\nold_encryption_keys = [\"{KEK}\"]\n{provider}");
    let (mine, theirs) = (stranger(), stranger());
    let before = {
        let suite = suite_in(&keyed(&provider, KEK), &dir).await;
        add(&suite, &theirs, "sk-another-key-of-theirs-7777").await.unwrap();
        add(&suite, &mine, PLANTED).await.unwrap()
    };
    {
        let suite = suite_in(&both, &dir).await;
        assert_eq!(ask(&suite, &mine).await.unwrap(), "cdef");
        let done = rewrap(&suite, &mine).await.unwrap();
        assert_eq!((done.rewrapped, done.old_encryption_key_ids.len()), (1, 0), "one of this project");
        let after = list(&suite, &mine).await.remove(0);
        assert_eq!(after.encryption_key_id, done.encryption_key_id);
        assert_ne!(after.encryption_key_id, before.encryption_key_id);
        assert_eq!(pb::StoredProviderKey { encryption_key_id: before.encryption_key_id.clone(), ..after }, before);
        assert_eq!(rewrap(&suite, &mine).await.unwrap().rewrapped, 0, "nothing is left to do");
    }
    let suite = suite_in(&keyed(&provider, OTHER_KEK), &dir).await;
    assert_eq!((ask(&suite, &mine).await.unwrap().as_str(), ask(&suite, &theirs).await.unwrap().as_str()), ("cdef", "7777"));
}

#[tokio::test]
async fn a_key_that_does_not_open_keeps_its_key_encryption_key_named() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), provider().await);
    let ctx = stranger();
    let stored = add(&suite_in(&keyed(&provider, KEK), &dir).await, &ctx, PLANTED).await.unwrap();
    let suite = suite_in(&keyed(&provider, OTHER_KEK), &dir).await;
    let done = rewrap(&suite, &ctx).await.unwrap();
    assert_eq!((done.rewrapped, done.old_encryption_key_ids), (0, vec![stored.encryption_key_id]));
    let without = suite_in(&provider, &tempfile::tempdir().unwrap()).await;
    assert_eq!(rewrap(&without, &ctx).await.unwrap_err().reason(), Reason::EncryptionKeyMissing);
}
