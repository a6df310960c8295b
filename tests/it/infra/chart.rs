//! The Helm chart: every documented shape renders what a cluster accepts, and what each shape promises is in it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use slipway_testkit::tools::{find, skipped};

use super::helm::{Helm, Objects, SHAPES, Shape, name, pod};
use super::yaml;
use crate::story::{binary, repository};

const COMPONENTS: [&str; 6] = ["gateway", "conversation", "planner", "file-store", "embedding", "inference"];
const STATEFUL: [&str; 5] = ["conversation", "planner", "file-store", "embedding", "inference"];

fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|s| s.name == name).expect("a known shape")
}

#[test]
fn every_shape_lints_and_is_what_kubernetes_accepts() {
    let Some(helm) = Helm::find("every_shape_lints_and_is_what_kubernetes_accepts") else { return };
    let validate = find("kubernetes-validate");
    if validate.is_none() {
        skipped("every_shape_lints_and_is_what_kubernetes_accepts", "kubernetes-validate is not installed: only helm has judged");
    }
    let directory = tempfile::tempdir().unwrap();
    for shape in &SHAPES {
        let output = helm.run(&["lint", "--strict", "--quiet"], shape);
        assert!(output.status.success(), "{}: {}", shape.name, String::from_utf8_lossy(&output.stdout));
        let Some(validate) = &validate else { continue };
        let file = directory.path().join("rendered.yaml");
        std::fs::write(&file, helm.text(shape)).unwrap();
        let mut command = Command::new(validate);
        command.args(["--strict", "--quiet", "--no-warn", "-k", "1.27", "-k", "1.33"]).arg(&file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", shape.name, String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_pod_is_bounded_and_without_rights() {
    let Some(helm) = Helm::find("every_pod_is_bounded_and_without_rights") else { return };
    for shape in &SHAPES {
        let objects = helm.objects(shape);
        assert_eq!(objects.names("Deployment"), COMPONENTS, "{}", shape.name);
        for workload in objects.of("Deployment").into_iter().chain(objects.of("Job")) {
            let ((pod, container), who) = (pod(workload), format!("{}: {}", shape.name, name(workload)));
            assert_eq!(pod["automountServiceAccountToken"], false, "{who}");
            assert_eq!(
                (&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["runAsUser"]),
                (&true.into(), &65532.into())
            );
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{who}");
            let security = &container["securityContext"];
            assert_eq!(
                (&security["readOnlyRootFilesystem"], &security["allowPrivilegeEscalation"]),
                (&true.into(), &false.into())
            );
            assert_eq!(security["capabilities"]["drop"][0], "ALL", "{who}");
            let resources = &container["resources"];
            for wanted in [&resources["requests"]["cpu"], &resources["requests"]["memory"], &resources["limits"]["memory"]] {
                assert!(wanted.is_string(), "{who}: {resources}");
            }
        }
    }
}

#[test]
fn every_component_is_probed_where_the_kubelet_can() {
    let Some(helm) = Helm::find("every_component_is_probed_where_the_kubelet_can") else { return };
    for shape in &SHAPES {
        let objects = helm.objects(shape);
        let settings: toml::Table = objects.settings().parse().unwrap();
        for deployment in objects.of("Deployment") {
            let ((pod, container), who) = (pod(deployment), name(deployment));
            let front = settings["gateway"].get("tls").is_some();
            let hidden = if who == "gateway" { front } else { settings.contains_key("tls") };
            for (probe, path) in [("startupProbe", "/healthz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
                let probe = &container[probe];
                assert_eq!(probe["grpc"]["port"].is_number(), !hidden, "{}: {who}: {probe}", shape.name);
                assert_eq!(probe["httpGet"]["path"] == path, hidden, "{}: {who}: {probe}", shape.name);
            }
            for drain in [&settings["drain_seconds"], &settings["gateway"]["drain_seconds"]] {
                let longer = pod["terminationGracePeriodSeconds"].as_i64() > drain.as_integer();
                assert!(longer, "{}: {who}", shape.name);
            }
        }
    }
}

/// The settings as a container gets them: the ConfigMap and its own environment, with something for each secret.
fn settings_of(objects: &Objects, container: &Value) -> std::process::Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("slipway.toml");
    std::fs::write(&file, objects.settings()).unwrap();
    let mut command = Command::new(binary());
    command.args(["config", "--config"]).arg(&file).current_dir(directory.path()).env_clear().env("HOME", directory.path());
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let secret = match name {
            "SLIPWAY_STORE__URL" => "postgres://me:secret@db/slipway",
            "SLIPWAY_GATEWAY__TOKENS" => {
                "[{name=\"ci\", secret=\"0123456789abcdef01234567\", user=\"0197a000-0000-7000-8000-00000000000a\", \
                 project=\"0197a000-0000-7000-8000-0000000000aa\", scope=\"write\"}]"
            }
            // What says who one is need not be hidden.
            "SLIPWAY_FILE_STORE__S3__ACCESS_KEY_ID" => "AKIAEXAMPLE",
            _ => "0123456789abcdef0123456789abcdef",
        };
        command.env(name, variable["value"].as_str().unwrap_or(secret));
    }
    command.output().unwrap()
}

#[test]
fn every_component_gets_settings_that_load() {
    let Some(helm) = Helm::find("every_component_gets_settings_that_load") else { return };
    for shape in &SHAPES {
        let objects = helm.objects(shape);
        for workload in objects.of("Deployment") {
            let output = settings_of(&objects, pod(workload).1);
            let who = format!("{}: {}", shape.name, name(workload));
            assert!(output.status.success(), "{who}: {}", String::from_utf8_lossy(&output.stderr));
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!shown.contains("me:secret") && !shown.contains("0123456789abcdef"), "{who}: {shown}");
        }
    }
}

#[test]
fn gateways_limit_callers_together_where_there_can_be_several() {
    let Some(helm) = Helm::find("gateways_limit_callers_together_where_there_can_be_several") else { return };
    for (shape_name, several) in [("embedded", false), ("embedded, from outside", true), ("scale", true)] {
        let settings: toml::Table = helm.objects(shape(shape_name)).settings().parse().unwrap();
        let limits = settings["gateway"].get("rate_limit");
        assert_eq!(limits.is_some_and(|limits| limits["shared"].as_bool() == Some(true)), several, "{shape_name}");
    }
}

#[test]
fn at_scale_nothing_is_kept_in_a_pod() {
    let Some(helm) = Helm::find("at_scale_nothing_is_kept_in_a_pod") else { return };
    let objects = helm.objects(shape("scale"));
    assert!(objects.of("PersistentVolumeClaim").is_empty());
    assert_eq!(
        (objects.names("PodDisruptionBudget"), objects.names("HorizontalPodAutoscaler")),
        (COMPONENTS.into(), COMPONENTS.into())
    );
    let settings: toml::Table = objects.settings().parse().unwrap();
    for deployment in objects.of("Deployment") {
        let (pod, container) = pod(deployment);
        let who = name(deployment);
        assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate", "{who}");
        assert_eq!(pod["topologySpreadConstraints"].as_array().map(Vec::len), Some(2), "{who}");
        assert!(!pod["volumes"].to_string().contains("persistentVolumeClaim"), "{who}");
        let url = container["env"].as_array().unwrap().iter().find(|v| v["name"] == "SLIPWAY_STORE__URL");
        let key = url.map(|v| v["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap());
        assert_eq!(key, STATEFUL.contains(&who).then_some(who), "each has the role of its own");
        if who != "gateway" {
            let service = objects.one("Service", &format!("{who}-headless"));
            assert_eq!(service["spec"]["clusterIP"], "None");
            let address = settings["services"][&who.replace('-', "_")].as_str().unwrap();
            assert_eq!(address, format!("http://demo-slipway-{who}-headless:50051"), "calls are spread over the pods");
        }
    }
    assert_eq!(settings["store"]["migrate"].as_bool(), Some(false));
}

#[test]
fn the_databases_are_migrated_before_anything_starts() {
    let Some(helm) = Helm::find("the_databases_are_migrated_before_anything_starts") else { return };
    let objects = helm.objects(shape("scale"));
    let job = objects.one("Job", "migrate");
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade");
    let (pod, container) = pod(job);
    assert_eq!(container["args"], serde_json::json!(["migrate", "up"]));
    let url = container["env"].as_array().unwrap().iter().find(|v| v["name"] == "SLIPWAY_STORE__URL").unwrap();
    assert_eq!(url["valueFrom"]["secretKeyRef"]["key"], "owner");
    // Nothing of the release is there yet when a hook runs: it may lean on nothing but the Secret.
    assert!(pod["serviceAccountName"].is_null() && !pod["volumes"].to_string().contains("configMap"));
    assert!(helm.objects(shape("embedded")).of("Job").is_empty());
}

#[test]
fn a_mesh_sees_services_and_plain_http2() {
    let Some(helm) = Helm::find("a_mesh_sees_services_and_plain_http2") else { return };
    let objects = helm.objects(shape("scale, mesh"));
    assert_eq!(objects.names("Service"), COMPONENTS, "no headless ones: the mesh chooses the pod");
    assert!(objects.settings().contains("planner = \"http://demo-slipway-planner:50051\""));
    for service in objects.of("Service") {
        assert_eq!(service["spec"]["ports"][0]["appProtocol"], "kubernetes.io/h2c");
    }
    for deployment in objects.of("Deployment") {
        assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"]["linkerd.io/inject"], "enabled");
    }
}

#[test]
fn with_mutual_tls_every_component_has_a_certificate_of_its_own() {
    let Some(helm) = Helm::find("with_mutual_tls_every_component_has_a_certificate_of_its_own") else { return };
    let objects = helm.objects(shape("scale, mutual TLS"));
    assert_eq!(objects.names("Certificate"), COMPONENTS);
    assert!(objects.settings().contains("planner = \"https://demo-slipway-planner-headless:50051\""));
    for deployment in objects.of("Deployment") {
        let volumes = pod(deployment).0["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|v| v["name"] == "tls").unwrap();
        let certificate = objects.one("Certificate", name(deployment));
        assert_eq!(volume["secret"]["secretName"], certificate["spec"]["secretName"]);
        let names = certificate["spec"]["dnsNames"].to_string();
        assert!(names.contains(&format!("\"demo-slipway-{}-headless\"", name(deployment))), "{names}");
    }
    let embedded = helm.objects(shape("embedded, mutual TLS"));
    assert!(embedded.of("Certificate").is_empty(), "a Secret that is named is not made");
}

/// The components that a policy's rules for `direction` name.
fn peers(policy: &Value, direction: &str, side: &str) -> BTreeSet<String> {
    let rules = policy["spec"][direction].as_array().unwrap().iter();
    let calls = rules.filter(|r| r["ports"][0]["port"] == "grpc");
    let peers = calls.flat_map(|r| r[side].as_array().into_iter().flatten());
    let label = |p: &Value| p["podSelector"]["matchLabels"]["app.kubernetes.io/component"].as_str().map(str::to_owned);
    peers.filter_map(label).collect()
}

#[test]
fn the_network_lets_through_who_calls_whom_and_no_other() {
    let Some(helm) = Helm::find("the_network_lets_through_who_calls_whom_and_no_other") else { return };
    let golden = std::fs::read_to_string(repository().join("tests/golden/who_calls_whom.txt")).unwrap();
    let called = |line: &str| {
        let (caller, method) = line.split_once(" -> ")?;
        let service = method.split_once('.')?.0.replace("filestore", "file-store");
        Some((caller.to_owned(), service))
    };
    let mut arrows: BTreeSet<(String, String)> = golden.lines().filter_map(called).collect();
    arrows.extend(COMPONENTS[1..].iter().map(|c| ("gateway".to_owned(), (*c).to_owned())));
    for shape in &SHAPES {
        let objects = helm.objects(shape);
        let (mut let_in, mut let_out) = (BTreeSet::new(), BTreeSet::new());
        for policy in objects.of("NetworkPolicy") {
            assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
            let who = name(policy).to_owned();
            let_out.extend(peers(policy, "egress", "to").into_iter().map(|p| (who.clone(), p)));
            if who != "gateway" {
                let_in.extend(peers(policy, "ingress", "from").into_iter().map(|p| (p, who.clone())));
            }
        }
        assert_eq!((&let_in, &let_out), (&arrows, &arrows), "{}", shape.name);
    }
}

/// The ports outside the release that a component may reach.
fn ports(objects: &Objects, component: &str) -> BTreeSet<i64> {
    let policy = objects.one("NetworkPolicy", component);
    let rules = policy["spec"]["egress"].as_array().unwrap().iter();
    rules.flat_map(|r| r["ports"].as_array().into_iter().flatten()).filter_map(|p| p["port"].as_i64()).collect()
}

#[test]
fn a_component_reaches_the_engines_that_it_needs() {
    let Some(helm) = Helm::find("a_component_reaches_the_engines_that_it_needs") else { return };
    let (embedded, scale) = (helm.objects(shape("embedded")), helm.objects(shape("scale")));
    assert_eq!(ports(&embedded, "file-store"), [53, 4222].into());
    assert_eq!(ports(&scale, "gateway"), [53, 4222].into());
    assert_eq!(ports(&scale, "planner"), [53, 4222, 5432].into());
    assert_eq!(ports(&scale, "file-store"), [53, 443, 4222, 5432].into());
    assert_eq!(ports(&scale, "embedding"), [53, 4222, 5432, 6334].into());
    assert_eq!(ports(&scale, "inference"), [53, 443, 4222, 5432].into());
    assert!(ports(&helm.objects(shape("scale, all secrets")), "planner").contains(&4317));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let Some(helm) = Helm::find("what_does_not_fit_together_is_refused") else { return };
    let scale: &[&str] = &["values-scale.yaml"];
    for (files, set, said) in [
        (&[][..], &["planner.replicas=2"][..], "replicas"),
        (&[], &["embedding.autoscaling.enabled=true"], "autoscaling"),
        (&[], &["mode=scale"], "existingSecret"),
        (scale, &["fileStore.s3.bucket="], "bucket"),
        (scale, &["embedding.qdrant.url="], "qdrant"),
        (scale, &["drainSeconds=60"], "terminationGracePeriodSeconds"),
        (scale, &["tls.enabled=true"], "issuer"),
        (&["values-mesh.yaml", "values-mtls.yaml"], &[], "exclude each other"),
        (&[], &["colour=blue"], "colour"),
    ] {
        let complaint = helm.complaint(files, set);
        assert!(complaint.contains(said), "{set:?}: {complaint}");
    }
}

#[test]
fn the_readme_tells_of_every_value() {
    fn walk(prefix: &str, value: &Value, readme: &str, missing: &mut Vec<String>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if !readme.contains(&format!("| `{path}` |")) {
                match value.as_object() {
                    Some(map) if !map.is_empty() => walk(&path, value, readme, missing),
                    _ => missing.push(path),
                }
            }
        }
    }
    let chart = repository().join("infra/helm/slipway");
    let values = yaml::documents(&std::fs::read_to_string(chart.join("values.yaml")).unwrap()).remove(0);
    let mut missing = Vec::new();
    walk("", &values, &std::fs::read_to_string(chart.join("README.md")).unwrap(), &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}
