//! The loader as a whole, on a small settings struct.

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Root {
    listen: String,
    inference: Inference,
    gateway: Gateway,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inference {
    default_model: String,
    #[serde(skip_serializing)]
    api_key: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Gateway {
    drain_seconds: u16,
    mode: Mode,
    tokens: Vec<Token>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Quiet,
    Loud,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    name: String,
    secret: String,
}

impl Default for Root {
    fn default() -> Self {
        Root { listen: "127.0.0.1:50051".into(), inference: Inference::default(), gateway: Gateway::default() }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Gateway { drain_seconds: 30, mode: Mode::Quiet, tokens: Vec::new() }
    }
}

/// A file of its own per test, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("slipway-settings-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn refusal(loader: Loader) -> String {
    loader.load::<Root>().unwrap_err().to_string()
}

#[test]
fn defaults_then_file_then_environment() {
    let file = File::new("order", "listen = '1.1.1.1:1'\n[gateway]\ndrain_seconds = 5\nmode = 'loud'\n");
    let loaded = Loader::new()
        .with_file(&file.0)
        .with_env([("SLIPWAY_LISTEN", "2.2.2.2:2"), ("SLIPWAY_INFERENCE__DEFAULT_MODEL", "a/b"), ("OTHER", "x")])
        .load::<Root>()
        .unwrap();
    assert_eq!(loaded.settings.listen, "2.2.2.2:2");
    assert_eq!(loaded.settings.gateway.drain_seconds, 5);
    assert_eq!(loaded.settings.gateway.mode, Mode::Loud);
    assert_eq!(loaded.settings.inference.default_model, "a/b");
    assert_eq!(loaded.origin("listen"), "SLIPWAY_LISTEN");
    assert_eq!(loaded.origin("gateway.drain_seconds"), file.0.display().to_string());
    assert_eq!(loaded.origin("gateway.tokens"), "the defaults");
}

#[test]
fn text_may_look_like_a_number() {
    let env = [("SLIPWAY_INFERENCE__API_KEY", "0123"), ("SLIPWAY_INFERENCE__DEFAULT_MODEL", "true")];
    let loaded = Loader::new().with_env(env).load::<Root>().unwrap();
    assert_eq!(loaded.settings.inference.api_key.as_deref(), Some("0123"));
    assert_eq!(loaded.settings.inference.default_model, "true");
}

#[test]
fn lists_come_from_the_environment_too() {
    let env = [("SLIPWAY_GATEWAY__TOKENS", r#"[{name="a",secret="s"}]"#)];
    let loaded = Loader::new().with_env(env).load::<Root>().unwrap();
    assert_eq!(loaded.settings.gateway.tokens[0].name, "a");
}

#[test]
fn unknown_keys_are_named_with_their_origin_and_the_nearest() {
    let file = File::new("unknown", "[gateway]\ndrain_second = 5\n");
    let text = refusal(Loader::new().with_file(&file.0));
    assert!(text.contains("`gateway.drain_second`"), "{text}");
    assert!(text.contains(&file.0.display().to_string()), "{text}");
    assert!(text.contains("did you mean `gateway.drain_seconds`?"), "{text}");
    assert!(!text.contains('\n'), "{text}");

    let text = refusal(Loader::new().with_env([("SLIPWAY_INFERENCE_DEFAULT_MODEL", "x")]));
    assert!(text.contains("did you mean `SLIPWAY_INFERENCE__DEFAULT_MODEL`?"), "{text}");
    let text = refusal(Loader::new().with_env([("SLIPWAY_QQQQQ", "x")]));
    assert_eq!(text, "there is no setting `qqqqq` (from SLIPWAY_QQQQQ); known here: listen, inference, gateway");
}

#[test]
fn bad_values_are_named_with_their_origin() {
    let env = |name: &'static str, value: &'static str| refusal(Loader::new().with_env([(name, value)]));
    let text = env("SLIPWAY_GATEWAY__DRAIN_SECONDS", "soon");
    assert_eq!(
        text,
        "the setting `gateway.drain_seconds` from SLIPWAY_GATEWAY__DRAIN_SECONDS should be u16, not string \"soon\""
    );
    assert!(env("SLIPWAY_GATEWAY__DRAIN_SECONDS", "70000").contains("`gateway.drain_seconds`"));
    let text = env("SLIPWAY_GATEWAY__MODE", "silent");
    assert!(text.contains("`silent`, which is not one of quiet, loud"), "{text}");
    let text = env("SLIPWAY_GATEWAY", "3");
    assert!(text.contains("`gateway` from SLIPWAY_GATEWAY"), "{text}");
    let text = env("SLIPWAY_GATEWAY__TOKENS", r#"[{name="a"}]"#);
    assert_eq!(text, "the setting `secret` of `gateway.tokens.0` from SLIPWAY_GATEWAY__TOKENS is missing");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let text = refusal(Loader::new().with_file("/nowhere/slipway.toml"));
    assert!(text.starts_with("cannot read the settings in /nowhere/slipway.toml: "), "{text}");
    let file = File::new("syntax", "listen = '1'\nfoo = = 3\n");
    let text = refusal(Loader::new().with_file(&file.0));
    assert!(text.contains("line 2") && !text.contains('\n'), "{text}");
}

#[test]
fn what_is_in_force_is_toml_without_secrets() {
    let env = [
        ("SLIPWAY_INFERENCE__API_KEY", "sk-very-secret"),
        ("SLIPWAY_GATEWAY__TOKENS", r#"[{name="a",secret="hunter2"}]"#),
        ("SLIPWAY_LISTEN", "postgres://u:pw@h/db"),
    ];
    let text = Loader::new().with_env(env).load::<Root>().unwrap().in_force();
    assert!(!text.contains("sk-very-secret") && !text.contains("hunter2") && !text.contains(":pw@"), "{text}");
    assert!(text.contains("api_key = \"***\"  # SLIPWAY_INFERENCE__API_KEY"), "{text}");
    assert!(text.contains("drain_seconds = 30  # the defaults"), "{text}");
    toml::from_str::<toml::Table>(&text).unwrap();
}

#[test]
fn later_mistakes_name_their_origin() {
    let loaded = Loader::new().with_env([("SLIPWAY_GATEWAY__DRAIN_SECONDS", "0")]).load::<Root>().unwrap();
    let text = loaded.invalid("gateway.drain_seconds", "must be at least 1").to_string();
    assert_eq!(text, "the setting `gateway.drain_seconds` from SLIPWAY_GATEWAY__DRAIN_SECONDS must be at least 1");
}
