//! The compose file: what it starts has settings that load, finds its engines, and waits for them.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use slipway_testkit::tools::skipped;

use super::yaml;
use crate::story::{binary, repository};

const OURS: [&str; 6] = ["gateway", "conversation", "planner", "file-store", "embedding", "inference"];

/// The services, with what they take from variables at its default.
fn services() -> Value {
    let text = std::fs::read_to_string(repository().join("infra/compose/compose.yaml")).unwrap();
    yaml::documents(&defaulted(&text)).remove(0)["services"].take()
}

/// `${NAME:-default}` as it is where NAME is not set.
fn defaulted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}').expect("a closed variable");
        let (_, default) = variable.split_once(":-").expect("a variable with a default");
        out += before;
        out += default;
        rest = after;
    }
    out + rest
}

fn settings() -> toml::Table {
    std::fs::read_to_string(repository().join("infra/compose/slipway.toml")).unwrap().parse().unwrap()
}

#[test]
fn every_service_gets_settings_that_load() {
    let services = services();
    for name in OURS.into_iter().chain(["migrate"]) {
        let service = &services[name];
        let command = service["command"].as_array().unwrap();
        if name != "migrate" {
            assert_eq!((&command[0], &command[1]), (&"serve".into(), &name.into()));
        }
        let mut config = Command::new(binary());
        let directory = tempfile::tempdir().unwrap();
        config.arg("config").current_dir(directory.path()).env_clear().env("HOME", directory.path());
        for (variable, value) in service["environment"].as_object().unwrap() {
            config.env(variable, value.as_str().unwrap_or_default());
        }
        assert_eq!(service["environment"]["SLIPWAY_CONFIG"], "/etc/slipway/slipway.toml");
        assert!(service["volumes"].to_string().contains("./slipway.toml:/etc/slipway/slipway.toml:ro"), "{name}");
        let file = directory.path().join("slipway.toml");
        std::fs::write(&file, settings().to_string()).unwrap();
        config.env("SLIPWAY_CONFIG", file);
        let output = config.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_the_settings_name_is_there() {
    let (services, settings) = (services(), settings());
    let mut addresses: Vec<String> =
        settings["services"].as_table().unwrap().values().map(|v| v.as_str().unwrap().into()).collect();
    assert_eq!(addresses.len(), 5);
    for address in &addresses {
        assert!(address.ends_with(":50051"), "{address}");
    }
    for (section, key) in [("bus", "url"), ("embedding.qdrant", "url"), ("file_store.s3", "endpoint")] {
        let value = section.split('.').fold(&toml::Value::Table(settings.clone()), |v, k| &v[k]).clone();
        addresses.push(value[key].as_str().unwrap().to_owned());
    }
    for name in OURS {
        addresses.extend(services[name]["environment"]["SLIPWAY_STORE__URL"].as_str().map(str::to_owned));
    }
    assert_eq!(addresses.len(), 13, "five services, three engines, five databases: {addresses:?}");
    for address in addresses {
        let authority = address.split_once("://").unwrap().1;
        let host = authority.rsplit('@').next().unwrap().split(':').next().unwrap();
        assert!(services[host].is_object(), "{address} leads nowhere");
    }
    assert_eq!(services["conversation"]["deploy"]["replicas"], 2);
}

#[test]
fn the_databases_know_the_roles_that_come_to_them() {
    let services = services();
    let passwords = std::fs::read_to_string(repository().join("infra/compose/passwords.sql")).unwrap();
    let mut seen = BTreeMap::new();
    for name in OURS.into_iter().chain(["migrate"]) {
        let Some(url) = services[name]["environment"]["SLIPWAY_STORE__URL"].as_str() else { continue };
        let (role, password) = url["postgres://".len()..].split_once('@').unwrap().0.split_once(':').unwrap();
        assert!(passwords.contains(&format!("ALTER ROLE {role} PASSWORD '{password}';")), "{role}");
        seen.insert(role.to_owned(), name);
    }
    assert_eq!(seen.len(), 6, "each has a role of its own: {seen:?}");
}

#[test]
fn the_roles_are_those_that_slipway_prints() {
    let printed = Command::new(binary()).args(["migrate", "roles"]).env_clear().output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let file = repository().join("infra/compose/roles.sql");
    if std::env::var_os("SLIPWAY_TEST_ACCEPT").is_some() {
        std::fs::write(&file, &printed.stdout).unwrap();
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(reviewed, String::from_utf8_lossy(&printed.stdout), "accept the change with SLIPWAY_TEST_ACCEPT=1 and review it");
}

#[test]
fn everything_is_waited_for_and_without_rights() {
    let services = services();
    for (name, service) in services.as_object().unwrap() {
        assert!(service["healthcheck"]["test"].is_array() || name == "migrate", "{name} is not checked");
        for (other, condition) in service["depends_on"].as_object().into_iter().flatten() {
            let condition = condition["condition"].as_str().unwrap();
            let ends = other == "migrate";
            assert_eq!(condition, if ends { "service_completed_successfully" } else { "service_healthy" }, "{name} on {other}");
            assert!(services[other].is_object(), "{name} waits for {other}, which is not there");
        }
        if service["image"].as_str().unwrap().starts_with("slipway") {
            assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{name}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to the network");
        }
    }
    for name in OURS {
        let reached = |other: &str| name == other || services["gateway"]["depends_on"][other].is_object();
        assert!(reached(name), "the gateway starts after {name}");
    }
}

#[test]
fn docker_compose_takes_it() {
    let mut command = Command::new("docker");
    command.args(["compose", "version"]);
    if !command.output().is_ok_and(|o| o.status.success()) {
        return skipped("docker_compose_takes_it", "there is no docker compose");
    }
    let mut command = Command::new("docker");
    command.args(["compose", "--file"]).arg(repository().join("infra/compose/compose.yaml")).args(["config", "--quiet"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
