//! Every recording under `recordings/`, replayed in many ways. A new file there is a new test.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use tokio::task::JoinSet;

use super::file::Chunks;
use super::*;
use crate::error::Kind;
use crate::model::JsonFormat;
use crate::provider::Traffic;
use crate::settings::ProviderSettings;

const SEEDS: u64 = 20;
const HANGS: Duration = Duration::from_secs(10);

/// A recording with what is expected of it.
struct Case {
    name: String,
    recording: Recording,
    expected: Value,
    request: Request,
    provider: Arc<dyn Traffic>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// All files with this ending, with the folder that they are in.
fn found() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for kind in std::fs::read_dir(folder()).unwrap().flatten() {
        for file in std::fs::read_dir(kind.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|e| e == "http") {
                found.push((kind.file_name().to_string_lossy().into_owned(), file.path()));
            }
        }
    }
    found.sort();
    found
}

/// A provider for all recordings of a kind: making a client takes long.
fn opened(key: String, settings: &ProviderSettings) -> Arc<dyn Traffic> {
    static OPENED: LazyLock<Mutex<HashMap<String, Arc<dyn Traffic>>>> = LazyLock::new(Mutex::default);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut opened = OPENED.lock().unwrap();
    opened.entry(key).or_insert_with(|| provider::open_http("recorded", settings).unwrap().unwrap()).clone()
}

impl Case {
    fn read(kind: &str, path: &Path) -> Self {
        let name = format!("{kind}/{}", path.file_stem().unwrap().to_string_lossy());
        let recording = Recording::parse(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = std::fs::read_to_string(path.with_extension("json"));
        let expected = expected.unwrap_or_else(|e| panic!("{name}: what is expected must stand beside it: {e}"));
        let expected: Value = serde_json::from_str(&expected).unwrap_or_else(|e| panic!("{name}: {e}"));
        let host = recording.request_headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.as_str());
        let settings = ProviderSettings {
            kind: Some(serde_json::from_value(json!(kind)).unwrap_or_else(|e| panic!("{name}: {e}"))),
            base_url: format!("https://{}/v1", host.unwrap_or("example.com")),
            max_retries: 0,
            ..ProviderSettings::default()
        };
        let provider = opened(format!("{kind} {host:?}"), &settings);
        // A form that is a forced tool is read another way.
        let form = expected["form"].as_str().map(str::to_owned);
        let json = form.map(|name| JsonFormat { name, schema: json!({"type": "object"}), strict: false });
        let model = expected["model"].as_str().unwrap_or_else(|| panic!("{name}: which model was asked?")).to_owned();
        let messages = vec![Message::new(Role::User, "0123456789abcdef")];
        let request = Request { model, messages, json, ..Request::default() };
        Self { name, recording, expected, request, provider }
    }

    async fn replay(&self, body: Chunks) -> Seen {
        let deltas = self.provider.read(&self.request, self.recording.response(body));
        tokio::time::timeout(HANGS, observe(deltas)).await.unwrap_or_else(|_| panic!("{} hangs", self.name))
    }

    /// In pieces of whatever size.
    async fn in_chunks(&self, sizes: impl Iterator<Item = usize>) -> Seen {
        let mut rest = self.recording.body.as_slice();
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, after) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
            chunks.push(Ok(Bytes::copy_from_slice(chunk)));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert!(rest.is_empty());
        self.replay(Box::pin(stream::iter(chunks))).await
    }

    /// Cut after some bytes, by the end of the body or by a connection that breaks.
    async fn cut(&self, at: usize, breaks: bool) -> Seen {
        let broken = breaks.then(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        let chunks = [Ok(Bytes::copy_from_slice(&self.recording.body[..at]))].into_iter().chain(broken);
        self.replay(Box::pin(stream::iter(chunks.collect::<Vec<_>>()))).await
    }

    fn expect(&self, seen: Seen, how: &str) {
        let mut expected = self.expected.clone();
        let fields = expected.as_object_mut().unwrap();
        fields.remove("model");
        fields.remove("form");
        fields.remove("about");
        assert_eq!(seen.into_value(), expected, "{} {how}", self.name);
    }

    /// A part of an answer is a part of the whole one, and its end is typed.
    fn expect_part(&self, seen: &Seen, whole: &Seen, how: &str) {
        let how = format!("{} {how}", self.name);
        assert!(whole.whole.text.starts_with(&seen.whole.text), "{how}: {:?}", seen.whole.text);
        assert!(whole.whole.reasoning.starts_with(&seen.whole.reasoning), "{how}");
        for (call, of) in seen.whole.tool_calls.iter().zip(&whole.whole.tool_calls) {
            assert_eq!((&call.id, &call.name), (&of.id, &of.name), "{how}");
            assert!(of.arguments.starts_with(&call.arguments), "{how}: {call:?}");
        }
        assert!(seen.whole.tool_calls.len() <= whole.whole.tool_calls.len(), "{how}");
        assert!(seen.deltas <= self.recording.body.len() + 3, "{how}: {} deltas", seen.deltas);
        match &seen.error {
            None => {
                assert!(seen.completed && whole.completed, "{how}: no end and no error");
                assert_eq!(seen.whole.text, whole.whole.text, "{how} passes for a whole answer");
                assert_eq!(seen.whole.tool_calls, whole.whole.tool_calls, "{how} passes for a whole answer");
                assert!(seen.whole.usage.input > 0, "{how}");
            }
            Some(error) => {
                assert!(!seen.completed, "{how}: an end and an error");
                let broken = matches!(error.kind, Kind::Network | Kind::Server);
                let told = whole.error.as_ref().is_some_and(|e| e.kind == error.kind) || self.recording.status != 200;
                assert!(broken || told, "{how}: {error:?}");
                assert_eq!(error.usage.is_some(), seen.started, "{how}: a call that was accepted has its usage");
                let spoken = !seen.whole.text.is_empty() || !seen.whole.reasoning.is_empty();
                assert!(!spoken || error.usage.as_ref().is_some_and(|u| u.input > 0 && u.output > 0), "{how}: {error:?}");
            }
        }
    }
}

/// Numbers that look random and are the same every time.
fn numbers(seed: u64) -> impl Iterator<Item = usize> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 61) as usize + 1
    })
}

async fn each(check: impl AsyncFn(Case) + Copy + Send + Sync + 'static) -> usize {
    let mut cases = 0;
    for (kind, path) in found() {
        check(Case::read(&kind, &path)).await;
        cases += 1;
    }
    cases
}

#[tokio::test]
async fn recordings_read_as_expected_however_they_are_cut_into_chunks() {
    let cases = each(async |case| {
        case.expect(case.replay(case.recording.whole()).await, "whole");
        case.expect(case.in_chunks(std::iter::repeat(1)).await, "byte by byte");
        for seed in 0..SEEDS {
            case.expect(case.in_chunks(numbers(seed)).await, &format!("in chunks by seed {seed}"));
        }
    });
    assert!(cases.await > 0, "there are no recordings");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_cut_after_any_byte_ends_in_a_typed_error_or_whole() {
    let mut running = JoinSet::new();
    for (kind, path) in found() {
        running.spawn(async move {
            let case = Case::read(&kind, &path);
            let whole = case.replay(case.recording.whole()).await;
            for at in 0..case.recording.body.len() {
                let seen = case.cut(at, at % 5 == 0).await;
                case.expect_part(&seen, &whole, &format!("cut after {at}"));
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_garbled_recording_ends_typed_and_bounded() {
    let mut running = JoinSet::new();
    for (kind, path) in found() {
        running.spawn(async move {
            for seed in 0..5 * SEEDS {
                let mut case = Case::read(&kind, &path);
                garble(&mut case.recording.body, seed);
                let seen = case.replay(case.recording.whole()).await;
                let how = format!("{} garbled by seed {seed}", case.name);
                assert!(seen.completed != seen.error.is_some(), "{how}: one end, and only one");
                assert!(seen.deltas <= case.recording.body.len() + 3, "{how}: {} deltas", seen.deltas);
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// A few bytes changed, left out, doubled or moved.
fn garble(body: &mut Vec<u8>, seed: u64) {
    let mut numbers = numbers(seed + 1);
    let mut below = |limit: usize| (0..3).fold(0, |n, _| n * 61 + numbers.next().unwrap_or(0)) % limit.max(1);
    for _ in 0..1 + below(4) {
        let at = below(body.len());
        match below(4) {
            0 => body[at] = below(256) as u8,
            1 => drop(body.drain(at..(at + 1 + below(40)).min(body.len()))),
            2 => body.extend_from_within(at..(at + 1 + below(200)).min(body.len())),
            _ => body.rotate_left(at),
        }
        if body.is_empty() {
            return;
        }
    }
}

#[test]
fn every_kind_of_failure_is_among_the_recordings() {
    let read = |(kind, path): (String, PathBuf)| Case::read(&kind, &path).expected["error"]["kind"].as_str().map(str::to_owned);
    let kinds: HashSet<String> = found().into_iter().filter_map(read).collect();
    // A connection that breaks is what every recording is cut for; one that is missing is no provider's failure.
    for kind in [
        Kind::Auth,
        Kind::Permission,
        Kind::RateLimited,
        Kind::CreditExhausted,
        Kind::ContextTooLong,
        Kind::ContentRefused,
        Kind::ModelNotFound,
        Kind::BadRequest,
        Kind::Overloaded,
        Kind::Server,
        Kind::TimeoutBeforeAnswer,
        Kind::TimeoutBetweenDeltas,
    ] {
        assert!(kinds.contains(&format!("{kind:?}")), "no recording ends with {kind:?}");
    }
}

#[test]
fn recordings_hold_no_key() {
    for (kind, path) in found() {
        let case = Case::read(&kind, &path);
        let headers = case.recording.request_headers.iter().chain(&case.recording.headers);
        for (name, _) in headers {
            assert!(HARMLESS.contains(&name.as_str()), "{}: the header {name}", case.name);
        }
    }
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let recording = Recording {
        target: "/v1/messages?x=1".into(),
        request_headers: vec![("host".into(), "example.com".into())],
        request_body: b"{\"a\":1}".to_vec(),
        status: 429,
        headers: vec![("retry-after".into(), "3".into())],
        body: b"\r\n\xff\n\nHTTP/1.1 200 OK\n".to_vec(),
    };
    assert_eq!(Recording::parse(&recording.to_bytes()).unwrap(), recording);
    let bare = Recording { request_body: Vec::new(), ..recording };
    assert_eq!(Recording::parse(&bare.to_bytes()).unwrap(), bare);
    for bad in ["", "GET / HTTP/1.1\n\n", "POST / HTTP/1.1\nhost\n\n", "POST / HTTP/1.1\nhost: x\n\n{}\n\nHTTP/2 200\n\n"] {
        assert!(Recording::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn keys_are_taken_out_of_bodies() {
    assert_eq!(without(b"a sk-1 b sk-1".to_vec(), b"sk-1"), b"a *** b ***");
    assert_eq!(without(b"nothing".to_vec(), b"sk-1"), b"nothing");
}

/// Writes down what is read of recordings that have nothing beside them, for a person to check. Run by hand:
/// `cargo test -p slipway-inference expectations -- --ignored`.
#[tokio::test]
#[ignore = "writes files: for new recordings only"]
async fn write_missing_expectations() {
    for (kind, path) in found() {
        let beside = path.with_extension("json");
        let draft = std::fs::read_to_string(&beside).ok().and_then(|t| serde_json::from_str::<Value>(&t).ok());
        let mut draft = draft.unwrap_or_else(|| json!({"model": "m"}));
        if draft.as_object().is_some_and(|d| d.keys().all(|k| ["model", "form", "about"].contains(&k.as_str()))) {
            std::fs::write(&beside, draft.to_string()).unwrap();
            let case = Case::read(&kind, &path);
            merge(&mut draft, case.replay(case.recording.whole()).await.into_value());
            std::fs::write(&beside, format!("{draft:#}\n")).unwrap();
        }
    }
}
