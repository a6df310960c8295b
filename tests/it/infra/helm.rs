//! Renders the chart, and reads what comes out.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use slipway_testkit::tools::{find, skipped};

use super::yaml;
use crate::story::repository;

/// A way to deploy the chart: values files beside it, then single values.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) files: &'static [&'static str],
    pub(super) set: &'static [&'static str],
}

const OPERATOR: [&str; 2] = ["telemetry.serviceMonitor.enabled=true", "telemetry.prometheusRule.enabled=true"];

/// All that are documented, and some that go together.
pub(super) const SHAPES: [Shape; 9] = [
    Shape { name: "embedded", files: &[], set: &[] },
    Shape {
        name: "embedded, from outside",
        files: &[],
        set: &[
            "gateway.ingress.enabled=true",
            "gateway.ingress.host=slipway.example.com",
            "gateway.replicas=3",
            "networkPolicy.gatewayFrom[0].podSelector.matchLabels.app=front",
            "embedding.weights.existingClaim=weights",
            "inference.providerKeys[0].name=OPENAI_API_KEY",
            "inference.providerKeys[0].secretName=providers",
            "inference.providerKeys[0].secretKey=openai",
        ],
    },
    Shape { name: "embedded, mutual TLS", files: &["values-mtls.yaml"], set: &["tls.existingSecret=certificates"] },
    Shape { name: "embedded, mesh", files: &["values-mesh.yaml"], set: &[] },
    Shape { name: "scale", files: &["values-scale.yaml"], set: &[] },
    Shape { name: "scale, operator", files: &["values-scale.yaml"], set: &OPERATOR },
    Shape { name: "scale, mutual TLS", files: &["values-scale.yaml", "values-mtls.yaml"], set: &OPERATOR },
    Shape { name: "scale, mesh", files: &["values-scale.yaml", "values-mesh.yaml"], set: &[] },
    Shape {
        name: "scale, all secrets",
        files: &["values-scale.yaml"],
        set: &[
            "bus.existingSecret=nats",
            "fileStore.s3.existingSecret=s3",
            "fileStore.s3.endpoint=http://minio:9000",
            "fileStore.s3.allowHttp=true",
            "fileStore.cache.mib=1024",
            "embedding.qdrant.existingSecret=qdrant",
            "telemetry.otlpEndpoint=http://collector:4317",
            "fileStore.s3.serviceAccountAnnotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::1:role/slipway",
        ],
    },
];

/// helm and the chart.
pub(super) struct Helm(PathBuf);

impl Helm {
    /// helm, or loudly nothing.
    pub(super) fn find(test: &str) -> Option<Self> {
        let helm = find("helm");
        if helm.is_none() {
            skipped(test, "helm is not installed");
        }
        helm.map(Self)
    }

    /// `helm <command> <chart>` in this shape.
    pub(super) fn run(&self, command: &[&str], shape: &Shape) -> Output {
        let folder = repository().join("infra/helm");
        let mut helm = Command::new(&self.0);
        helm.args(command).arg(folder.join("slipway"));
        for file in shape.files {
            helm.arg("--values").arg(folder.join(file));
        }
        for value in shape.set {
            helm.args(["--set", value]);
        }
        helm.output().expect("helm starts")
    }

    /// What the shape renders, as text.
    pub(super) fn text(&self, shape: &Shape) -> String {
        let output = self.run(&["template", "demo"], shape);
        assert!(output.status.success(), "{}: {}", shape.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("YAML is UTF-8")
    }

    /// What the shape renders, as objects.
    pub(super) fn objects(&self, shape: &Shape) -> Objects {
        Objects(yaml::documents(&self.text(shape)))
    }

    /// What helm says against these values.
    pub(super) fn complaint(&self, files: &'static [&'static str], set: &'static [&'static str]) -> String {
        let output = self.run(&["template", "demo"], &Shape { name: "wrong", files, set });
        assert!(!output.status.success(), "{set:?} should be refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The objects of a release.
pub(super) struct Objects(Vec<Value>);

impl Objects {
    /// Those of a kind.
    pub(super) fn of(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|o| o["kind"] == kind).collect()
    }

    /// The names of those of a kind, without the release's prefix.
    pub(super) fn names(&self, kind: &str) -> Vec<&str> {
        self.of(kind).into_iter().map(name).collect()
    }

    /// The one of a kind with this name.
    pub(super) fn one(&self, kind: &str, wanted: &str) -> &Value {
        let found = self.of(kind).into_iter().find(|o| name(o) == wanted);
        found.unwrap_or_else(|| panic!("no {kind} {wanted}"))
    }

    /// The `slipway.toml` in the ConfigMap.
    pub(super) fn settings(&self) -> &str {
        self.one("ConfigMap", "")["data"]["slipway.toml"].as_str().expect("a ConfigMap with the file")
    }
}

/// An object's name without the release's prefix.
pub(super) fn name(object: &Value) -> &str {
    let name = object["metadata"]["name"].as_str().expect("a name");
    name.strip_prefix("demo-slipway").unwrap_or(name).trim_start_matches('-')
}

/// A Deployment's or a Job's pod, and its only container.
pub(super) fn pod(workload: &Value) -> (&Value, &Value) {
    let pod = &workload["spec"]["template"]["spec"];
    (pod, &pod["containers"][0])
}
