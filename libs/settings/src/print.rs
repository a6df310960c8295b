//! What is in force, as TOML: values with their origins, secrets masked.

use figment::Figment;
use figment::value::{Dict, Num, Value};

use crate::error::origin;

const MASK: &str = "***";

/// Every key that has a value, dotted.
pub(crate) fn leaves(dict: &Dict) -> Vec<String> {
    let mut found = Vec::new();
    collect(dict, "", &mut found);
    found
}

fn collect(dict: &Dict, prefix: &str, found: &mut Vec<String>) {
    for (name, value) in dict {
        let key = join(prefix, name);
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => collect(inner, &key, found),
            _ => found.push(key),
        }
    }
}

pub(crate) fn in_force(figment: &Figment) -> String {
    let mut out = String::new();
    if let Ok(dict) = figment.extract::<Dict>() {
        table(figment, &dict, "", &mut out);
    }
    out
}

/// Plain values first, then the tables: the order that TOML wants.
fn table(figment: &Figment, dict: &Dict, prefix: &str, out: &mut String) {
    let is_table = |v: &Value| matches!(v, Value::Dict(..));
    if !prefix.is_empty() && (dict.is_empty() || dict.values().any(|v| !is_table(v))) {
        out.push_str(&format!("\n[{prefix}]\n"));
    }
    for (name, value) in dict.iter().filter(|(_, v)| !is_table(v)) {
        let key = join(prefix, name);
        match render(name, value) {
            Some(text) => out.push_str(&format!("{} = {text}  # {}\n", quoted(name), origin(figment, &key))),
            None => out.push_str(&format!("# {} is not set\n", quoted(name))),
        }
    }
    for (name, value) in dict {
        if let Value::Dict(_, inner) = value {
            table(figment, inner, &join(prefix, &quoted(name)), out);
        }
    }
}

fn render(name: &str, value: &Value) -> Option<String> {
    to_toml(name, value).map(|v| v.to_string())
}

fn to_toml(name: &str, value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::String(_, s) if is_secret(name) && !s.is_empty() => toml::Value::String(MASK.to_owned()),
        Value::String(_, s) => toml::Value::String(without_password(s)),
        Value::Char(_, c) => toml::Value::String(c.to_string()),
        Value::Bool(_, b) => toml::Value::Boolean(*b),
        Value::Num(_, Num::F32(f)) => toml::Value::Float(f64::from(*f)),
        Value::Num(_, Num::F64(f)) => toml::Value::Float(*f),
        Value::Num(_, _) if is_secret(name) => toml::Value::String(MASK.to_owned()),
        Value::Num(_, n) => toml::Value::Integer(n.to_i128().or(n.to_u128().map(|u| u as i128))?.try_into().ok()?),
        Value::Empty(..) => return None,
        Value::Dict(_, d) => toml::Value::Table(d.iter().filter_map(|(k, v)| Some((k.clone(), to_toml(k, v)?))).collect()),
        Value::Array(_, items) => toml::Value::Array(items.iter().filter_map(|v| to_toml(name, v)).collect()),
    })
}

/// Whether the last part of a key says that its value must not be shown.
pub(crate) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').find(|part| part.parse::<usize>().is_err()).unwrap_or(key);
    ["key", "secret", "password", "token"].iter().any(|end| name == *end || name.ends_with(&format!("_{end}")))
}

/// `postgres://user:secret@host` without the secret; likewise several addresses with commas between.
fn without_password(text: &str) -> String {
    let begins = |rest: &str| {
        let scheme = rest.trim_start().split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    // A password may contain a comma, but no address.
    let next = text.match_indices(',').find(|(at, _)| begins(&text[at + 1..]));
    match next {
        Some((at, _)) => format!("{},{}", in_one(&text[..at]), without_password(&text[at + 1..])),
        None => in_one(text),
    }
}

fn in_one(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let user = authority.rsplit_once('@')?.0.split_once(':')?.0;
        Some((scheme, user, &rest[authority.rfind('@')?..]))
    });
    match parts {
        Some((scheme, user, tail)) => format!("{scheme}://{user}:{MASK}{tail}"),
        None => text.to_owned(),
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for key in ["identity.key", "inference.api_key", "gateway.tokens.0.secret", "password"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["listen", "inference.default_model", "keyboard", "gateway.tokens"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_masked() {
        assert_eq!(without_password("postgres://me:pw@db/x?a=b"), "postgres://me:***@db/x?a=b");
        assert_eq!(without_password("postgres://me:p@w@db:5432"), "postgres://me:***@db:5432");
        assert_eq!(without_password("http://host:80/a@b:c"), "http://host:80/a@b:c");
        assert_eq!(without_password("plain"), "plain");
        assert_eq!(without_password("postgres://me:p,w@db"), "postgres://me:***@db");
        assert_eq!(without_password("nats://a:b@x:1, tls://c:d,e@y,nats://z"), "nats://a:***@x:1, tls://c:***@y,nats://z");
    }
}
