//! What a file is, by its path and content: the kinds whose habits the weights know.

/// The part that a file plays in its package, by its path.
pub(super) fn kind(path: &str) -> &'static str {
    let lower = path.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let name = parts.last().copied().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let top = parts.len() == 1;
    match name {
        _ if parts[0] == "charts" && parts.len() > 2 => "subchart",
        "chart.yaml" if top => "chart",
        "chart.lock" | "requirements.lock" if top => "lock",
        "requirements.yaml" if top => "reqs",
        "values.yaml" if top => "values",
        "values.schema.json" if top => "schema",
        _ if top && name.starts_with("values") && matches!(ending, "yaml" | "yml") => "values2",
        "readme.md" if top => "readme",
        "readme.md.gotmpl" | "_readme.gotmpl" => "readmesrc",
        _ if name.starts_with("changelog") => "changelog",
        _ if parts[0] == "ci" => "ci",
        "notes.txt" => "notes",
        _ if parts.contains(&"crds") || name.contains("crd") => "crd",
        _ if parts[0] == "templates" && parts.contains(&"tests") => "tests",
        _ if parts[0] == "templates" && ending == "tpl" => "helpers",
        _ if parts[0] == "templates" => "template",
        _ if name.starts_with("license") => "license",
        "owners" => "dot",
        _ if name.starts_with('.') => "dot",
        _ if matches!(ending, "md" | "txt" | "rst" | "adoc") => "docs",
        _ if lower.contains("test") => "tests",
        _ if matches!(ending, "py" | "sh" | "go" | "js" | "ts" | "rs" | "java" | "c" | "h" | "cc" | "cpp" | "rb") => "code",
        "json" => "json",
        _ if ending == "json" => "json",
        _ => "other",
    }
}

/// What people call a kind.
pub(super) fn name(kind: &str) -> &'static str {
    match kind {
        "subchart" => "a chart inside",
        "chart" => "the chart's metadata",
        "lock" => "the lock of the dependencies",
        "reqs" => "the dependencies",
        "values" => "the chart's values",
        "schema" => "the schema of the values",
        "values2" => "other values",
        "readme" => "the readme",
        "readmesrc" => "what the readme is made of",
        "changelog" => "the changelog",
        "ci" => "values for tests",
        "notes" => "the notes after an installation",
        "crd" => "a resource definition",
        "tests" => "a test",
        "helpers" => "template helpers",
        "template" => "a template",
        "license" => "the licence",
        "dot" => "settings of a tool",
        "docs" => "documentation",
        "code" => "code",
        "json" => "data",
        _ => "a file",
    }
}

/// Whether the file is there once in a package, and changed for what changes elsewhere.
pub(super) fn is_common(kind: &str) -> bool {
    matches!(kind, "chart" | "lock" | "reqs" | "values" | "readme" | "readmesrc" | "changelog" | "schema")
}

/// Whether it becomes, or may become, a part of what is installed.
pub(super) fn is_rendered(kind: &str) -> bool {
    matches!(kind, "template" | "helpers" | "crd" | "notes" | "tests")
}

/// Kinds of Kubernetes objects that are changed for the same reasons.
const CATEGORIES: [(&str, &[&str]); 15] = [
    ("workload", &["Deployment", "StatefulSet", "DaemonSet", "Pod", "ReplicaSet", "Rollout"]),
    ("job", &["Job", "CronJob"]),
    ("service", &["Service"]),
    ("ingress", &["Ingress", "HTTPRoute", "Gateway", "GRPCRoute", "TLSRoute", "Route", "VirtualService"]),
    ("config", &["ConfigMap"]),
    ("secret", &["Secret", "SealedSecret", "ExternalSecret", "Certificate", "Issuer"]),
    ("sa", &["ServiceAccount"]),
    ("rbac", &["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "PodSecurityPolicy", "SecurityContextConstraints"]),
    ("monitor", &["ServiceMonitor", "PodMonitor", "PrometheusRule", "Probe", "ScrapeConfig", "AlertmanagerConfig"]),
    ("scale", &["HorizontalPodAutoscaler", "VerticalPodAutoscaler", "PodDisruptionBudget", "ScaledObject"]),
    ("netpol", &["NetworkPolicy", "CiliumNetworkPolicy"]),
    ("storage", &["PersistentVolumeClaim", "PersistentVolume", "StorageClass"]),
    ("webhook", &["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"]),
    ("api", &["APIService"]),
    ("list", &["List"]),
];

/// The category of a kind of object.
pub(super) fn category(object: &str) -> Option<&'static str> {
    CATEGORIES.iter().find(|(_, objects)| objects.contains(&object)).map(|(category, _)| *category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_files_play() {
        let cases = [
            ("Chart.yaml", "chart"),
            ("charts/inner/Chart.yaml", "subchart"),
            ("values-production.yaml", "values2"),
            ("README.md", "readme"),
            ("docs/README.md", "docs"),
            ("templates/_helpers.tpl", "helpers"),
            ("templates/tests/test.yaml", "tests"),
            ("templates/gateway/deployment.yaml", "template"),
            ("templates/NOTES.txt", "notes"),
            ("crds/x.yaml", "crd"),
            ("ci/a-values.yaml", "ci"),
            (".helmignore", "dot"),
            ("src/main.rs", "code"),
            ("src/tests.rs", "tests"),
            ("dashboards/a.json", "json"),
            ("", "other"),
        ];
        for (path, expected) in cases {
            assert_eq!(kind(path), expected, "{path}");
        }
        assert_eq!(category("StatefulSet"), Some("workload"));
        assert_eq!(category("Quokka"), None);
    }
}
