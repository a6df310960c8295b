//! Tests of the choice of files.

use super::*;

const CHART: &[(&str, &str)] = &[
    (".helmignore", "*.tmp"),
    ("Chart.lock", "digest: x"),
    ("Chart.yaml", "name: shop\nversion: 1.0.0\nappVersion: 2.0.0"),
    ("LICENSE", "do what you like"),
    ("README.md", "# Shop\n\nSells things.\n\n| ingress.enabled | reach it |"),
    ("templates/NOTES.txt", "Thanks"),
    ("templates/_helpers.tpl", "{{ define \"shop.labels\" }}app: shop{{ end }}"),
    ("templates/deployment.yaml", "kind: Deployment\nspec:\n  replicas: {{ .Values.replicaCount }}\n  env: {{ .Values.env }}"),
    ("templates/gateway/hpa.yaml", "kind: HorizontalPodAutoscaler\nmax: {{ .Values.gateway.autoscaling.maxReplicas }}"),
    ("templates/ingress.yaml", "kind: Ingress\nhost: {{ .Values.ingress.host }}"),
    ("templates/service.yaml", "kind: Service\nport: {{ .Values.service.port }}"),
    ("templates/sa.yaml", "kind: ServiceAccount\nname: {{ .Values.serviceAccount.name }}"),
    ("templates/tests/test-connection.yaml", "kind: Pod"),
    ("values.yaml", "replicaCount: 1\nenv: []\ningress:\n  host: x\nservice:\n  port: 80\nserviceAccount:\n  name: x"),
];

fn candidates<'a>(files: &[(&'a str, &str)]) -> Vec<Candidate<'a>> {
    files.iter().map(|(path, text)| Candidate { path, digest: Arc::new(Digest::of([*text])) }).collect()
}

fn ranked(request: &str) -> Vec<Selected> {
    select(&Request::read(request), &candidates(CHART), usize::MAX)
}

fn first(request: &str, n: usize) -> Vec<String> {
    ranked(request).into_iter().take(n).map(|s| s.path).collect()
}

fn place(request: &str, path: &str) -> usize {
    ranked(request).iter().position(|s| s.path == path).unwrap()
}

#[test]
fn what_the_request_speaks_of_comes_first() {
    let found = first("put an ingress on the host shop.example.com", 3);
    assert!(found.contains(&"templates/ingress.yaml".to_owned()) && found.contains(&"values.yaml".to_owned()), "{found:?}");
    let request = "add environment variables to the pods";
    for other in ["templates/ingress.yaml", "templates/service.yaml", "templates/sa.yaml", "templates/gateway/hpa.yaml"] {
        assert!(place(request, "templates/deployment.yaml") < place(request, other), "{:#?}", ranked(request));
    }
    assert!(place("name the service account robot", "templates/sa.yaml") < place("sell things", "templates/sa.yaml"));
}

#[test]
fn the_sort_of_the_change_counts() {
    let found = first("bump version", 3);
    assert_eq!(found[0], "Chart.yaml");
    assert!(place("fix typo in the readme", "README.md") < 2);
    assert!(place("bump version", "templates/deployment.yaml") > place("fix the deployment", "templates/deployment.yaml"));
}

#[test]
fn the_parts_of_a_score_add_up_to_it() {
    for request in ["", "put an ingress on shop.example.com", "bump", "quokka", "add env to the deployment of the gateway"] {
        let found = select(&Request::read(request), &candidates(CHART), usize::MAX);
        assert_eq!(found.len(), CHART.len());
        for file in found {
            let sum: f64 = file.parts.iter().map(|p| p.value).sum();
            assert!(file.score.is_finite() && (sum - file.score).abs() < 1e-9, "{file:?}");
        }
    }
}

#[test]
fn reasons_name_what_was_found() {
    let found = ranked("put an ingress on it");
    let ingress = found.iter().find(|s| s.path == "templates/ingress.yaml").unwrap();
    assert!(ingress.reason.contains("its path names `ingress`"), "{}", ingress.reason);
    assert!(ingress.parts.iter().any(|p| p.name == "text" && p.value > 0.0));
}

#[test]
fn a_chart_in_a_folder_is_ranked_like_one_at_the_top() {
    let moved: Vec<(String, &str)> = CHART.iter().map(|(path, text)| (format!("deploy/shop/{path}"), *text)).collect();
    let moved: Vec<(&str, &str)> = moved.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let request = Request::read("put an ingress on the host");
    let inside = select(&request, &candidates(&moved), 4);
    let names: Vec<_> = inside.iter().map(|s| s.path.trim_start_matches("deploy/shop/").to_owned()).collect();
    assert_eq!(names, first("put an ingress on the host", 4));
}

#[test]
fn outside_charts_text_and_paths_decide() {
    let files = [
        ("src/main.rs", "fn main() { serve() }"),
        ("src/parser.rs", "pub fn parse(text: &str) -> Tree { let tokens = tokens(text); }"),
        ("src/server.rs", "pub fn serve() {}"),
    ];
    let found = select(&Request::read("mend how the parser splits tokens"), &candidates(&files), 10);
    assert_eq!(found[0].path, "src/parser.rs");
}

#[test]
fn the_choice_is_deterministic_and_limited() {
    let one = ranked("expose metrics of the gateway");
    assert_eq!(one, ranked("expose metrics of the gateway"));
    assert!(one.windows(2).all(|w| w[0].score >= w[1].score));
    assert_eq!(select(&Request::read("x"), &candidates(CHART), 4).len(), 4);
    assert!(select(&Request::read("x"), &[], 4).is_empty());
}
