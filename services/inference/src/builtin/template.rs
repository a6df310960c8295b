//! Whole files that the engine can write, and the few places where it can change a Go template, which is not YAML.

use super::yaml::Value;

/// A file to write or a change to a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// A chart's `templates/ingress.yaml`. Names are Go template text, taken from the chart's own Service.
    ChartIngress { values: String, name: String, port: String, labels: String },
    /// A chart's `templates/hpa.yaml`.
    ChartScaler { values: String, kind: String, name: String, labels: String },
    /// An Ingress among plain manifests.
    PlainIngress { name: String, namespace: String, host: String, port: String, class: String, secret: String },
    /// A HorizontalPodAutoscaler among plain manifests.
    PlainScaler { kind: String, name: String, namespace: String, min: String, max: String, cpu: String },
    /// A workload's template leaves its replicas out while autoscaling is on.
    Guard { values: String },
    /// A workload's template hands a value to its container.
    Container { key: String, values: String },
}

const CHART_INGRESS: &str = "write an Ingress that reads the values";
const CHART_SCALER: &str = "write a HorizontalPodAutoscaler that reads the values";
const PLAIN_INGRESS: &str = "write an Ingress";
const PLAIN_SCALER: &str = "write a HorizontalPodAutoscaler";
const GUARD: &str = "leave spec.replicas out while autoscaling is on";
const CONTAINER: &str = "hand a value to the container";

impl Template {
    /// The wording in a step's reason: what it does, and with what.
    pub(super) fn wording(&self) -> String {
        let (what, with): (_, Vec<(&str, &String)>) = match self {
            Self::ChartIngress { values, name, port, labels } => {
                (CHART_INGRESS, vec![("values", values), ("service", name), ("port", port), ("labels", labels)])
            }
            Self::ChartScaler { values, kind, name, labels } => {
                (CHART_SCALER, vec![("values", values), ("kind", kind), ("name", name), ("labels", labels)])
            }
            Self::PlainIngress { name, namespace, host, port, class, secret } => (
                PLAIN_INGRESS,
                vec![
                    ("service", name),
                    ("namespace", namespace),
                    ("host", host),
                    ("port", port),
                    ("class", class),
                    ("secret", secret),
                ],
            ),
            Self::PlainScaler { kind, name, namespace, min, max, cpu } => (
                PLAIN_SCALER,
                vec![("kind", kind), ("name", name), ("namespace", namespace), ("min", min), ("max", max), ("cpu", cpu)],
            ),
            Self::Guard { values } => (GUARD, vec![("values", values)]),
            Self::Container { key, values } => (CONTAINER, vec![("key", key), ("values", values)]),
        };
        let with: Vec<_> = with.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k} `{v}`")).collect();
        format!("{what}: {}", with.join(", "))
    }

    /// Reads the wording.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (what, with) = text.split_once(": ")?;
        let get = |key: &str| {
            let from = with
                .match_indices(key)
                .map(|(at, _)| at)
                .find(|&at| (at == 0 || with[..at].ends_with(", ")) && with[at + key.len()..].starts_with(" `"));
            from.and_then(|at| with[at + key.len() + 2..].split('`').next()).unwrap_or_default().to_owned()
        };
        Some(match what {
            CHART_INGRESS => {
                Self::ChartIngress { values: get("values"), name: get("service"), port: get("port"), labels: get("labels") }
            }
            CHART_SCALER => {
                Self::ChartScaler { values: get("values"), kind: get("kind"), name: get("name"), labels: get("labels") }
            }
            PLAIN_INGRESS => Self::PlainIngress {
                name: get("service"),
                namespace: get("namespace"),
                host: get("host"),
                port: get("port"),
                class: get("class"),
                secret: get("secret"),
            },
            PLAIN_SCALER => Self::PlainScaler {
                kind: get("kind"),
                name: get("name"),
                namespace: get("namespace"),
                min: get("min"),
                max: get("max"),
                cpu: get("cpu"),
            },
            GUARD => Self::Guard { values: get("values") },
            CONTAINER => Self::Container { key: get("key"), values: get("values") },
            _ => return None,
        })
    }

    pub(super) fn same_place(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The file after the change. A file that is there already is not written again.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        match self {
            Self::Guard { values } => guard(text, values),
            Self::Container { key, values } => container(text, key, values),
            _ if !text.trim().is_empty() => Ok(text.to_owned()),
            Self::ChartIngress { values, name, port, labels } => Ok(chart_ingress(values, name, port, labels)),
            Self::ChartScaler { values, kind, name, labels } => Ok(chart_scaler(values, kind, name, labels)),
            Self::PlainIngress { name, namespace, host, port, class, secret } => {
                Ok(plain_ingress(name, namespace, host, port, class, secret))
            }
            Self::PlainScaler { kind, name, namespace, min, max, cpu } => Ok(plain_scaler(kind, name, namespace, min, max, cpu)),
        }
    }
}

fn chart_labels(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("  labels:\n    {labels}\n") }
}

fn chart_ingress(values: &str, name: &str, port: &str, labels: &str) -> String {
    let labels = chart_labels(labels);
    let port = port.strip_prefix("name ").map_or_else(|| format!("number: {port}"), |name| format!("name: {name}"));
    format!(
        "\
{{{{- if .Values.{values}.enabled }}}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
{labels}  {{{{- with .Values.{values}.annotations }}}}
  annotations:
    {{{{- toYaml . | nindent 4 }}}}
  {{{{- end }}}}
spec:
  {{{{- with .Values.{values}.className }}}}
  ingressClassName: {{{{ . }}}}
  {{{{- end }}}}
  {{{{- with .Values.{values}.tls }}}}
  tls:
    {{{{- toYaml . | nindent 4 }}}}
  {{{{- end }}}}
  rules:
    - host: {{{{ required \"{values}.host is required\" .Values.{values}.host | quote }}}}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {name}
                port:
                  {port}
{{{{- end }}}}
"
    )
}

fn chart_scaler(values: &str, kind: &str, name: &str, labels: &str) -> String {
    let labels = chart_labels(labels);
    format!(
        "\
{{{{- if .Values.{values}.enabled }}}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
{labels}spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {kind}
    name: {name}
  minReplicas: {{{{ .Values.{values}.minReplicas }}}}
  maxReplicas: {{{{ .Values.{values}.maxReplicas }}}}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{{{ .Values.{values}.targetCPUUtilizationPercentage }}}}
{{{{- end }}}}
"
    )
}

fn metadata(name: &str, namespace: &str) -> Value {
    let mut entries = vec![("name", Value::text(name))];
    if !namespace.is_empty() {
        entries.push(("namespace", Value::text(namespace)));
    }
    Value::map(entries)
}

fn manifest(value: &Value) -> String {
    value.block(0).iter().map(|l| format!("{l}\n")).collect()
}

fn plain_ingress(name: &str, namespace: &str, host: &str, port: &str, class: &str, secret: &str) -> String {
    let port_key = if port.bytes().all(|b| b.is_ascii_digit()) { "number" } else { "name" };
    let service = Value::map([("name", Value::text(name)), ("port", Value::map([(port_key, Value::of_word(port))]))]);
    let path = Value::map([
        ("path", Value::text("/")),
        ("pathType", Value::text("Prefix")),
        ("backend", Value::map([("service", service)])),
    ]);
    let rule = Value::map([("host", Value::text(host)), ("http", Value::map([("paths", Value::List(vec![path]))]))]);
    let mut spec = Vec::new();
    if !class.is_empty() {
        spec.push(("ingressClassName", Value::text(class)));
    }
    if !secret.is_empty() {
        let tls = Value::map([("hosts", Value::List(vec![Value::text(host)])), ("secretName", Value::text(secret))]);
        spec.push(("tls", Value::List(vec![tls])));
    }
    spec.push(("rules", Value::List(vec![rule])));
    manifest(&Value::map([
        ("apiVersion", Value::text("networking.k8s.io/v1")),
        ("kind", Value::text("Ingress")),
        ("metadata", metadata(name, namespace)),
        ("spec", Value::map(spec)),
    ]))
}

fn plain_scaler(kind: &str, name: &str, namespace: &str, min: &str, max: &str, cpu: &str) -> String {
    let target = Value::map([("type", Value::text("Utilization")), ("averageUtilization", Value::of_word(cpu))]);
    let resource = Value::map([("name", Value::text("cpu")), ("target", target)]);
    let metric = Value::map([("type", Value::text("Resource")), ("resource", resource)]);
    let workload = Value::map([("apiVersion", Value::text("apps/v1")), ("kind", Value::text(kind)), ("name", Value::text(name))]);
    let spec = Value::map([
        ("scaleTargetRef", workload),
        ("minReplicas", Value::of_word(min)),
        ("maxReplicas", Value::of_word(max)),
        ("metrics", Value::List(vec![metric])),
    ]);
    manifest(&Value::map([
        ("apiVersion", Value::text("autoscaling/v2")),
        ("kind", Value::text("HorizontalPodAutoscaler")),
        ("metadata", metadata(name, namespace)),
        ("spec", spec),
    ]))
}

fn eol(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// How `.Values` is spelled at a line: inside a `range` or a `with`, the dot is something else.
fn values_at(before: &str) -> &'static str {
    let mut open: Vec<bool> = Vec::new();
    for action in before.split("{{").skip(1) {
        let action = action.trim_start_matches('-').trim_start();
        let word = action.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        match word {
            "range" | "with" => open.push(true),
            "if" | "define" | "block" => open.push(false),
            "end" => {
                open.pop();
            }
            _ => {}
        }
    }
    if open.contains(&true) { "$.Values" } else { ".Values" }
}

fn guard(text: &str, values: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let replicas: Vec<usize> = (0..lines.len()).filter(|&n| lines[n].trim_start().starts_with("replicas:")).collect();
    let [at] = replicas[..] else {
        return if replicas.is_empty() { Ok(text.to_owned()) } else { Err("the template has several `replicas:` lines".into()) };
    };
    if at > 0 && lines[at - 1].contains("if not") {
        return Ok(text.to_owned());
    }
    let before = lines[..at].concat();
    let (pad, eol) = (" ".repeat(indent_of(lines[at])), eol(text));
    let root = values_at(&before);
    let open = format!("{pad}{{{{- if not {root}.{values}.enabled }}}}{eol}");
    Ok(format!("{before}{open}{}{pad}{{{{- end }}}}{eol}{}", lines[at], lines[at + 1..].concat()))
}

fn container(text: &str, key: &str, values: &str) -> Result<String, String> {
    if text.contains(&format!(".Values.{values} ")) {
        return Ok(text.to_owned());
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let image: Vec<usize> =
        (0..lines.len()).filter(|&n| lines[n].trim_start().trim_start_matches("- ").starts_with("image:")).collect();
    let [image] = image[..] else {
        return Err("the template does not have exactly one container".into());
    };
    let body = lines[image].trim_start();
    let indent = indent_of(lines[image]) + if body.starts_with("- ") { 2 } else { 0 };
    let (pad, eol) = (" ".repeat(indent), eol(text));
    let own = (0..lines.len()).find(|&n| indent_of(lines[n]) == indent && lines[n].trim_end() == format!("{pad}{key}:"));
    let at = own.unwrap_or(if lines.get(image + 1).is_some_and(|l| l.trim_start().starts_with("imagePullPolicy:")) {
        image + 1
    } else {
        image
    });
    let root = values_at(&lines[..=at].concat());
    let new = if own.is_some() {
        format!(
            "{pad}  {{{{- with {root}.{values} }}}}{eol}{pad}  {{{{- toYaml . | nindent {} }}}}{eol}{pad}  {{{{- end }}}}{eol}",
            indent + 2
        )
    } else {
        format!(
            "{pad}{{{{- with {root}.{values} }}}}{eol}{pad}{key}:{eol}{pad}  {{{{- toYaml . | nindent {} }}}}{eol}{pad}{{{{- end }}}}{eol}",
            indent + 2
        )
    };
    let (head, tail) = (lines[..=at].concat(), lines[at + 1..].concat());
    let gap = if head.ends_with('\n') { "" } else { eol };
    Ok(format!("{head}{gap}{new}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::yaml::parse;

    #[test]
    fn wording_reads_back() {
        let text = |s: &str| s.to_owned();
        let all = [
            Template::ChartIngress {
                values: text("ingress"),
                name: text("{{ include \"web.fullname\" . }}"),
                port: text("{{ .Values.service.port }}"),
                labels: text("{{- include \"web.labels\" . | nindent 4 }}"),
            },
            Template::PlainScaler {
                kind: text("Deployment"),
                name: text("web"),
                namespace: text(""),
                min: text("2"),
                max: text("5"),
                cpu: text("80"),
            },
            Template::Guard { values: text("autoscaling") },
            Template::Container { key: text("env"), values: text("web.env") },
        ];
        for template in all {
            assert_eq!(Template::read(&template.wording()), Some(template.clone()), "{}", template.wording());
        }
    }

    #[test]
    fn plain_files_are_yaml() {
        let ingress = plain_ingress("web", "prod", "a.example.com", "80", "nginx", "web-tls");
        let root = &parse(&ingress).unwrap()[0];
        assert_eq!(root.at(&["spec", "rules"]).unwrap().items()[0].get("host").unwrap().text(), Some("a.example.com"));
        assert!(parse(&plain_scaler("Deployment", "web", "", "2", "5", "80")).is_some());
    }

    const DEPLOYMENT: &str = "spec:\n  replicas: {{ .Values.replicas }}\n  template:\n    spec:\n      containers:\n        - name: web\n          image: {{ .Values.image }}\n          imagePullPolicy: Always\n          ports: []\n";

    #[test]
    fn replicas_are_guarded_once() {
        let once = guard(DEPLOYMENT, "autoscaling").unwrap();
        assert!(once.contains(
            "  {{- if not .Values.autoscaling.enabled }}\n  replicas: {{ .Values.replicas }}\n  {{- end }}\n  template:"
        ));
        assert_eq!(guard(&once, "autoscaling").unwrap(), once);
    }

    #[test]
    fn values_reach_the_container() {
        let once = container(DEPLOYMENT, "env", "env").unwrap();
        let expected = "          imagePullPolicy: Always\n          {{- with .Values.env }}\n          env:\n            {{- toYaml . | nindent 12 }}\n          {{- end }}\n          ports: []\n";
        assert!(once.ends_with(expected), "{once}");
        assert_eq!(container(&once, "env", "env").unwrap(), once);
        let ranged = format!("{{{{- range .Values.all }}}}\n{DEPLOYMENT}{{{{- end }}}}\n");
        assert!(container(&ranged, "env", "env").unwrap().contains("with $.Values.env"));
    }
}
