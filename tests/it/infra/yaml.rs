//! YAML as JSON values, which tests can index.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

/// The documents of a text; empty ones are left out.
pub(super) fn documents(text: &str) -> Vec<Value> {
    let documents = Yaml::load_from_str(text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
    documents.iter().map(value).filter(|v| !v.is_null()).collect()
}

fn value(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(b)) => (*b).into(),
        Yaml::Value(Scalar::Integer(n)) => (*n).into(),
        Yaml::Value(Scalar::FloatingPoint(n)) => n.into_inner().into(),
        Yaml::Value(Scalar::String(s)) => s.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(map) => merged(map.iter().map(|(k, v)| (key(k), value(v))).collect()),
        other => panic!("{other:?} has no meaning here"),
    }
}

/// `<<` takes over the keys of another mapping that this one has not.
fn merged(mut map: Map<String, Value>) -> Value {
    if let Some(Value::Object(base)) = map.remove("<<") {
        for (key, value) in base {
            map.entry(key).or_insert(value);
        }
    }
    map.into()
}

fn key(node: &Yaml<'_>) -> String {
    match value(node) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
