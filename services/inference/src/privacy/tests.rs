//! What a request looks like when it leaves, and its answer when it comes back.

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::*;
use crate::error::{Broken, Kind, ProviderError};
use crate::model::{Completion, Delta, Finish, JsonFormat, Message, Role, Seam, Tool, ToolCall, Usage};
use crate::provider::collect;

async fn leave(privacy: &Privacy, request: Request) -> Request {
    privacy.screen(request, Wishes::default(), Scope::default()).await.unwrap().request
}

fn secret() -> String {
    format!("{}_{}", "ghp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
}

fn request() -> Request {
    let secret = secret();
    let call = ToolCall { id: "1".into(), name: "write".into(), arguments: json!({"text": format!("a\n{secret}")}).to_string() };
    let schema = json!({"type": "object", "properties": {"key": {"default": secret}}});
    Request {
        messages: vec![
            Message::new(Role::System, format!("use {secret}")),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") },
            Message::new(Role::Tool, format!("TOKEN={secret}\n")),
        ],
        tools: vec![Tool { name: "write".into(), description: format!("like {secret}"), parameters: schema.clone() }],
        json: Some(JsonFormat { name: "answer".into(), schema, strict: false }),
        ..Request::default()
    }
}

#[tokio::test]
async fn nothing_of_a_request_holds_a_secret() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let screened = leave(&privacy, request()).await;
    assert!(!format!("{screened:?}").contains(&secret()), "{screened:?}");
    let arguments: serde_json::Value = serde_json::from_str(&screened.messages[1].tool_calls[0].arguments).unwrap();
    assert_eq!(arguments["text"], "a\n[REDACTED:github-pat]");
}

#[tokio::test]
async fn large_requests_are_screened_too() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let text = "nothing to see here\n".repeat(5_000) + &secret();
    let request = Request { messages: vec![Message::new(Role::User, text)], ..Request::default() };
    let screened = leave(&privacy, request).await;
    assert!(screened.messages[0].text.ends_with("here\n[REDACTED:github-pat]"));
}

#[tokio::test]
async fn settings_turn_it_off_and_allow() {
    let off = PrivacySettings { redact: false, ..PrivacySettings::default() };
    let allowing = PrivacySettings { allow: vec!["ghp_.*".into()], ..PrivacySettings::default() };
    for settings in [off, allowing] {
        let screened = leave(&Privacy::new(&settings).unwrap(), request()).await;
        assert!(screened.messages[0].text.contains(&secret()));
    }
}

fn name(name: &str, kind: NameKind) -> PrivateName {
    PrivateName { name: name.into(), kind }
}

fn saying(text: &str) -> Request {
    Request { messages: vec![Message::new(Role::User, text)], ..Request::default() }
}

async fn answered(restorer: Restorer, deltas: Vec<Delta>) -> Completion {
    let deltas = futures::stream::iter(deltas.into_iter().map(Ok)).boxed();
    collect(restorer.restore(deltas)).await.unwrap()
}

#[tokio::test]
async fn names_leave_as_pseudonyms_and_come_back() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let wishes = Wishes {
        names: vec![name("prod", NameKind::Namespace), name("shop-api", NameKind::Resource), name("q\"uo", NameKind::Any)],
        ..Wishes::default()
    };
    let text = "scale shop-api in prod, not in production; shop-api-7f9c and svc/shop-api.prod.svc, q\"uo";
    let call = ToolCall { id: "1".into(), name: "f".into(), arguments: json!({"x": "a\nprod", "y": "q\"uo"}).to_string() };
    let mut request = saying(text);
    request.messages.push(Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") });
    let scope = Scope { project: "p", conversation: "c" };
    let screened = privacy.screen(request.clone(), wishes.clone(), scope).await.unwrap();
    let left = &screened.request.messages[0].text;
    assert!(!left.contains("shop-api") && !left.contains("q\"uo") && left.contains("production"), "{left}");
    assert_eq!(left.matches("ns-").count(), 2, "{left}");
    let arguments = screened.request.messages[1].tool_calls[0].arguments.clone();
    assert!(arguments.contains("a\\nns-") && arguments.contains(r#""y":"name-"#), "{arguments}");
    // Another call of the conversation has the same pseudonyms.
    let again = privacy.screen(request, wishes, scope).await.unwrap();
    assert_eq!(again.request.messages[0].text, *left);

    let mut deltas = vec![Delta::Started];
    deltas.extend(left.chars().map(|c| Delta::Text(c.to_string())));
    deltas.extend(arguments.chars().enumerate().map(|(n, c)| {
        let first = |text: &str| if n == 0 { text.to_owned() } else { String::new() };
        Delta::ToolCall { index: 0, id: first("1"), name: first("f"), arguments: c.to_string() }
    }));
    deltas.push(Delta::Completed { finish: Finish::Stop, usage: Usage::default(), reasoning_state: None });
    let answer = answered(screened.restorer.unwrap(), deltas).await;
    assert_eq!(answer.text, text);
    let restored: serde_json::Value = serde_json::from_str(&answer.tool_calls[0].arguments).unwrap();
    assert_eq!(restored, json!({"x": "a\nprod", "y": "q\"uo"}));
}

#[tokio::test]
async fn what_was_replaced_is_restored_whatever_the_names_and_the_cuts() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..60 {
        let mut label = |most: usize| -> String {
            let length = rng.random_range(2..most);
            (0..length)
                .map(|n| char::from(b"abcdehnprst-"[rng.random_range(0..if n == 0 || n + 1 == length { 11 } else { 12 })]))
                .collect()
        };
        let names: Vec<_> = (0..20).map(|n| if n % 5 == 0 { format!("{}.{}", label(6), label(9)) } else { label(12) }).collect();
        let words: Vec<_> = (0..40).map(|_| label(9)).collect();
        let mut text = String::new();
        for _ in 0..200 {
            let known = rng.random_bool(0.4);
            text += if known { &names[rng.random_range(0..names.len())] } else { &words[rng.random_range(0..words.len())] };
            text += [" ", "/", ".", "-", "\n", "\": \"", "ü", "", "_", "res-", "pod-k"][rng.random_range(0..11)];
        }
        let kinds = [NameKind::Resource, NameKind::Pod, NameKind::Namespace, NameKind::Host, NameKind::Any, NameKind::Cluster];
        let private = names.iter().enumerate().map(|(n, text)| name(text, kinds[n % 6])).collect();
        let wishes = Wishes { names: private, ..Wishes::default() };
        let screened = privacy.screen(saying(&text), wishes, Scope::default()).await.unwrap();
        let left = screened.request.messages[0].text.clone();
        let (mut deltas, mut at) = (vec![Delta::Started], 0);
        let most = rng.random_range(1..30);
        while at < left.len() {
            let mut next = (at + rng.random_range(1..=most)).min(left.len());
            while !left.is_char_boundary(next) {
                next += 1;
            }
            deltas.push(Delta::Text(left[at..next].to_owned()));
            at = next;
        }
        let answer = answered(screened.restorer.unwrap(), deltas).await;
        assert_eq!(answer.text, text, "{left}");
    }
}

#[tokio::test]
async fn a_pseudonym_that_the_text_holds_already_is_not_taken() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let wishes = || Wishes { names: vec![name("shop", NameKind::Resource)], ..Wishes::default() };
    let first = privacy.screen(saying("shop"), wishes(), Scope::default()).await.unwrap().request;
    let text = format!("{} is not shop", first.messages[0].text);
    let screened = privacy.screen(saying(&text), wishes(), Scope::default()).await.unwrap();
    let left = screened.request.messages[0].text.clone();
    assert!(left.starts_with(&first.messages[0].text) && !left.ends_with(&first.messages[0].text), "{left}");
    assert_eq!(answered(screened.restorer.unwrap(), vec![Delta::Text(left)]).await.text, text);
}

#[tokio::test]
async fn little_is_held_back_and_nothing_is_lost_when_the_provider_fails() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let wishes = Wishes { names: vec![name("shop", NameKind::Resource)], ..Wishes::default() };
    let restorer = privacy.screen(saying("shop"), wishes, Scope::default()).await.unwrap().restorer.unwrap();
    let failed = ProviderError::new(Kind::Network, "p", "broke off");
    let deltas = vec![Ok(Delta::Text("plain".into())), Ok(Delta::Text(" re".into())), Err(Broken::from(failed))];
    let mut restored = restorer.restore(futures::stream::iter(deltas).boxed());
    let mut next = async || restored.next().await;
    assert_eq!(next().await.unwrap().unwrap(), Delta::Text("plain".into()));
    assert_eq!(next().await.unwrap().unwrap(), Delta::Text(" ".into()));
    assert_eq!(next().await.unwrap().unwrap(), Delta::Text("re".into()));
    let broken = next().await.unwrap().unwrap_err();
    assert!(matches!(broken, Broken::Provider(error) if error.kind == Kind::Network));
    assert!(next().await.is_none());
}

#[tokio::test]
async fn a_seam_within_a_pseudonym_tells_where_the_caller_is() {
    let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
    let wishes = Wishes { names: vec![name("shop", NameKind::Resource)], ..Wishes::default() };
    let screened = privacy.screen(saying("shop"), wishes, Scope::default()).await.unwrap();
    let pseudonym = screened.request.messages[0].text.clone();
    let seam = Seam { failed: "a/b".into(), model: "c/d".into(), kind: Kind::Network, offset: 10 };
    let said = |text: &str| Delta::Text(text.to_owned());
    let deltas = vec![said("ask "), said(&pseudonym[..6]), Delta::Seam(Box::new(seam)), said(&pseudonym[6..]), said("!")];
    let answer = answered(screened.restorer.unwrap(), deltas).await;
    assert_eq!((answer.text.as_str(), answer.seams[0].offset), ("ask shop!", 4));
}

fn context() -> Vec<Part> {
    let part = |kind, text: &str, names: &[&str]| Part {
        message: 0,
        kind,
        text: text.into(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
    };
    vec![
        part(PartKind::Cluster, "cluster east-1, 1.33, 12 nodes", &["east-1"]),
        part(PartKind::Resource, "kind: Deployment\nmetadata:\n  name: shop\n", &["shop"]),
        part(PartKind::Pod, "pod shop-7f9c-x2 is not ready", &["shop-7f9c-x2"]),
        part(PartKind::Log, "east-1 shop-7f9c-x2 panics", &[]),
        part(PartKind::Resource, "FailedScheduling: shop-7f9c-x2 of shop", &[]),
    ]
}

/// What is switched off, how, what is left and what is gone.
type Case = (&'static str, fn(&mut PrivacySettings), &'static [&'static str], &'static [&'static str]);

#[tokio::test]
async fn each_switch_clears_its_data_everywhere() {
    let cases: [Case; 5] = [
        ("nothing", |_| {}, &["east-1", "1.33", "shop", "shop-7f9c-x2", "panics"], &[]),
        (
            "cluster",
            |s| s.send_cluster_metadata = false,
            &["shop", "[cluster] shop-7f9c-x2 panics"],
            &["east-1", "1.33", "12 nodes"],
        ),
        (
            "resources",
            |s| s.send_resource_names = false,
            &["name: [resource]", "of [resource]", "east-1"],
            &["shop is", "name: shop"],
        ),
        ("pods", |s| s.send_pod_names = false, &["pod [pod] is", "[pod] of shop", "[pod] panics"], &["7f9c"]),
        ("logs", |s| s.send_logs = false, &["east-1", "shop-7f9c-x2"], &["panics"]),
    ];
    for (what, switch, kept, gone) in cases {
        let mut settings = PrivacySettings::default();
        switch(&mut settings);
        // From the settings, and from the caller alone.
        let asked = Privacy::new(&settings).unwrap().withheld;
        for (settings, withheld) in [(settings.clone(), Withheld::default()), (PrivacySettings::default(), asked)] {
            let wishes = Wishes { parts: context(), withheld, ..Wishes::default() };
            let screened = Privacy::new(&settings).unwrap().screen(saying("why?"), wishes, Scope::default()).await.unwrap();
            let text = &screened.request.messages[0].text;
            assert!(kept.iter().all(|k| text.contains(k)), "{what}: {text}");
            assert!(!gone.iter().any(|g| text.contains(g)), "{what}: {text}");
        }
    }
}

#[tokio::test]
async fn names_of_the_context_become_pseudonyms_when_asked() {
    let privacy = Privacy::new(&PrivacySettings { pseudonyms: true, ..PrivacySettings::default() }).unwrap();
    let wishes = Wishes { parts: context(), ..Wishes::default() };
    let screened = privacy.screen(saying("why?"), wishes, Scope::default()).await.unwrap();
    let text = screened.request.messages[0].text.clone();
    assert!(!text.contains("shop") && !text.contains("east-1"), "{text}");
    let answer = answered(screened.restorer.unwrap(), vec![Delta::Text(text)]).await;
    assert!(answer.text.contains("FailedScheduling: shop-7f9c-x2 of shop") && answer.text.contains("cluster east-1"));
}
