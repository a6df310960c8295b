//! Requests over the charts, and exactly which lines they change.

use serde_json::json;

use super::charts::{bare, created, manifests, suite};
use super::*;

async fn check(files: &Files, request: &str, lines: &[&str]) {
    assert_eq!(change(files, request).await, lines, "{request}");
}

async fn refused(files: &Files, request: &str) -> String {
    let plan = plan(files, request, "").await;
    assert_eq!(plan["steps"], json!([]), "{request}: {plan}");
    plan["cannot"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn replicas_and_an_ingress() {
    let lines = [
        "-  replicas: 1",
        "+  replicas: 3",
        "-    enabled: false",
        "-    className: \"\"",
        "-    host: \"\"",
        "+    enabled: true",
        "+    className: \"\"",
        "+    host: \"slipway.example.com\"",
    ];
    let request = "run three gateway replicas and put an ingress on slipway.example.com";
    let got = change(&suite(), request).await;
    let minimal: Vec<_> = got.iter().filter(|l| !l.contains("className")).collect();
    let expected: Vec<_> = lines.iter().filter(|l| !l.contains("className")).collect();
    let sorted = |mut v: Vec<String>| {
        v.sort();
        v
    };
    assert_eq!(
        sorted(minimal.iter().map(|s| (*s).clone()).collect()),
        sorted(expected.iter().map(|s| (**s).to_owned()).collect())
    );
    let plan = plan(&suite(), request, "").await;
    let reason = plan["steps"][0]["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "set gateway.replicas to 3 (now 1); set gateway.ingress.enabled to true (now false); set gateway.ingress.host to slipway.example.com (now empty)"
    );
    assert_eq!(plan["summary"], "Update values.yaml.");
}

#[tokio::test]
async fn the_suite_chart() {
    let suite = suite();
    for (request, lines) in [
        ("scale the worker to five", &["-  replicaCount: 2", "+  replicaCount: 5"][..]),
        (
            "scale gateway and worker to 4 replicas",
            &["-  replicas: 1", "+  replicas: 4", "-  replicaCount: 2", "+  replicaCount: 4"],
        ),
        ("run 4 replicas of everything", &["-  replicas: 1", "+  replicas: 4", "-  replicaCount: 2", "+  replicaCount: 4"]),
        ("upgrade the gateway to version 1.5.0", &["-    tag: \"1.4.0\"", "+    tag: \"1.5.0\""]),
        (
            "use image ghcr.io/other/gw:2.0 for the gateway",
            &[
                "-    repository: ghcr.io/acme/gateway # the one image",
                "-    tag: \"1.4.0\"",
                "+    repository: ghcr.io/other/gw # the one image",
                "+    tag: \"2.0\"",
            ],
        ),
        ("bump the worker's image tag to 1.6", &["-  image: ghcr.io/acme/worker:1.4.0", "+  image: ghcr.io/acme/worker:1.6"]),
        (
            "set the gateway cpu limit to 500m and memory limit to 1Gi",
            &["-      memory: 256Mi", "+      memory: 1Gi", "+      cpu: 500m"],
        ),
        (
            "give the worker 512Mi of memory",
            &[
                "-  resources: {}",
                "+  resources:",
                "+    requests:",
                "+      memory: 512Mi",
                "+    limits:",
                "+      memory: 512Mi",
            ],
        ),
        ("set env LOG_LEVEL=debug on the worker", &["-    LOG_LEVEL: info", "+    LOG_LEVEL: debug"]),
        ("add env var RETRIES=3 to the worker", &["+    RETRIES: \"3\""]),
        (
            "add an environment variable FOO with value bar to the gateway",
            &["-  extraEnv: []", "+  extraEnv:", "+    - name: FOO", "+      value: bar"],
        ),
        ("set gateway.service.port to 8080", &["-    port: 50051", "+    port: 8080"]),
        ("change the gateway service port to 8080", &["-    port: 50051", "+    port: 8080"]),
        ("expose the gateway through a load balancer", &["-    type: ClusterIP", "+    type: LoadBalancer"]),
        ("set the log level to debug", &["-logLevel: info", "+logLevel: debug"]),
        ("enable metrics", &["-  enabled: false", "+  enabled: true"]),
        ("set the termination grace period to 60", &["-terminationGracePeriodSeconds: 30", "+terminationGracePeriodSeconds: 60"]),
        (
            "add the annotation prometheus.io/scrape: \"true\" to the worker pods",
            &["-  podAnnotations: {}", "+  podAnnotations:", "+    prometheus.io/scrape: \"true\""],
        ),
        (
            "increase the gateway's liveness initial delay to 30 seconds",
            &["-    initialDelaySeconds: 5", "+    initialDelaySeconds: 30"],
        ),
        ("remove the LOG_LEVEL variable from the worker", &["-  env:", "-    LOG_LEVEL: info", "+  env: {}"]),
        ("set the app version to 1.5.0", &["@Chart.yaml", "-appVersion: \"1.4.0\"", "+appVersion: \"1.5.0\""]),
    ] {
        check(&suite, request, lines).await;
    }
}

#[tokio::test]
async fn the_created_chart() {
    let created = created();
    for (request, lines) in [
        ("run 3 replicas", &["-replicaCount: 1", "+replicaCount: 3"][..]),
        ("set replicaCount to 3", &["-replicaCount: 1", "+replicaCount: 3"]),
        ("scale the web app to three pods", &["-replicaCount: 1", "+replicaCount: 3"]),
        ("set the image tag to 1.27", &["-  tag: \"\"", "+  tag: \"1.27\""]),
        ("use httpd:2.4", &["-  repository: nginx", "+  repository: httpd", "-  tag: \"\"", "+  tag: \"2.4\""]),
        (
            "put an ingress on slipway.example.com",
            &["-  enabled: false", "+  enabled: true", "-    - host: chart-example.local", "+    - host: slipway.example.com"],
        ),
        (
            "enable the ingress with host a.example.com and class nginx and tls",
            &[
                "-  enabled: false",
                "-  className: \"\"",
                "+  enabled: true",
                "+  className: \"nginx\"",
                "-    - host: chart-example.local",
                "+    - host: a.example.com",
                "-  tls: []",
                "+  tls:",
                "+    - secretName: a-example-com-tls",
                "+      hosts:",
                "+        - a.example.com",
            ],
        ),
        (
            "enable autoscaling between 2 and 10 replicas at 70% cpu",
            &[
                "-  enabled: false",
                "-  minReplicas: 1",
                "-  maxReplicas: 100",
                "-  targetCPUUtilizationPercentage: 80",
                "+  enabled: true",
                "+  minReplicas: 2",
                "+  maxReplicas: 10",
                "+  targetCPUUtilizationPercentage: 70",
            ],
        ),
        (
            "set requests to 100m cpu and 128Mi memory and limits to 1 cpu and 512Mi memory",
            &[
                "-resources: {}",
                "+resources:",
                "+  requests:",
                "+    cpu: 100m",
                "+    memory: 128Mi",
                "+  limits:",
                "+    cpu: 1",
                "+    memory: 512Mi",
            ],
        ),
        ("set the liveness probe path to /healthz", &["-    path: /", "+    path: /healthz"]),
        ("change the service type to NodePort", &["-  type: ClusterIP", "+  type: NodePort"]),
        ("change the service port to 8080", &["-  port: 80", "+  port: 8080"]),
        ("add label team=platform to the pods", &["-podLabels: {}", "+podLabels:", "+  team: platform"]),
        (
            "add env LOG_LEVEL=debug",
            &[
                "+env:",
                "+  - name: LOG_LEVEL",
                "+    value: debug",
                "@templates/deployment.yaml",
                "+          {{- with .Values.env }}",
                "+          env:",
                "+            {{- toYaml . | nindent 12 }}",
                "+          {{- end }}",
            ],
        ),
    ] {
        let got: Vec<String> = change(&created, request).await.into_iter().filter(|l| l != "+").collect();
        assert_eq!(got, lines, "{request}");
    }
}

#[tokio::test]
async fn another_host_keeps_the_first_one() {
    let mut files = created();
    files[1].1 = files[1]
        .1
        .replace("chart-example.local\n      paths", "a.example.com\n      paths")
        .replace("  enabled: false\n  className", "  enabled: true\n  className");
    let lines = change(&files, "add the host b.example.com to the ingress").await;
    assert_eq!(lines, ["+    - host: b.example.com", "+      paths:", "+        - path: /", "+          pathType: Prefix"]);
}

#[tokio::test]
async fn a_chart_without_an_ingress_gets_one() {
    let before = bare();
    let request = "put an ingress on shop.example.com";
    let plan = plan(&before, request, "").await;
    let mut after = before.clone();
    apply(&mut after, request, &plan).await;
    let text = |path: &str| after.iter().find(|(p, _)| p == path).unwrap().1.clone();
    assert!(text("shop/values.yaml").ends_with(
        "service:\n  port: 80\ningress:\n  enabled: true\n  className: \"\"\n  annotations: {}\n  host: shop.example.com\n  tls: []\n"
    ));
    let ingress = text("shop/templates/ingress.yaml");
    for wanted in [
        "{{- if .Values.ingress.enabled }}\n",
        "  name: {{ .Release.Name }}-shop\n",
        "    {{- include \"shop.labels\" . | nindent 4 }}\n",
        "                  number: {{ .Values.service.port }}\n",
    ] {
        assert!(ingress.contains(wanted), "{wanted}\n{ingress}");
    }
}

#[tokio::test]
async fn a_chart_without_autoscaling_gets_it() {
    let before = bare();
    let request = "autoscale from 2 to 6 pods at 60% cpu";
    let plan = plan(&before, request, "").await;
    let mut after = before.clone();
    apply(&mut after, request, &plan).await;
    let text = |path: &str| after.iter().find(|(p, _)| p == path).unwrap().1.clone();
    assert!(
        text("shop/values.yaml").ends_with(
            "autoscaling:\n  enabled: true\n  minReplicas: 2\n  maxReplicas: 6\n  targetCPUUtilizationPercentage: 60\n"
        )
    );
    assert!(text("shop/templates/deployment.yaml").contains("  {{- if not .Values.autoscaling.enabled }}\n  replicas:"));
    assert!(text("shop/templates/hpa.yaml").contains("    name: {{ .Release.Name }}-shop\n"));
}

#[tokio::test]
async fn a_chart_without_resources_gets_them() {
    let lines = change(&bare(), "limit memory to 1Gi").await;
    let expected = [
        "@shop/values.yaml",
        "+resources:",
        "+  limits:",
        "+    memory: 1Gi",
        "@shop/templates/deployment.yaml",
        "+          {{- with .Values.resources }}",
        "+          resources:",
        "+            {{- toYaml . | nindent 12 }}",
        "+          {{- end }}",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn plain_manifests() {
    let files = manifests();
    for (request, lines) in [
        ("scale web to 5", &["@k8s/web.yaml", "-  replicas: 2 # two are enough", "+  replicas: 5 # two are enough"][..]),
        ("run three workers", &["@k8s/worker.yaml", "-  replicas: 1", "+  replicas: 3"]),
        ("set the web image tag to 1.27", &["@k8s/web.yaml", "-        image: nginx:1.25", "+        image: nginx:1.27"]),
        (
            "use acme/worker:2.0 for the worker",
            &["@k8s/worker.yaml", "-          image: acme/worker", "+          image: acme/worker:2.0"],
        ),
        ("set MODE to test on web", &["@k8s/web.yaml", "-          value: \"prod\"", "+          value: \"test\""]),
        ("add env DEBUG=true to web", &["@k8s/web.yaml", "+        - name: DEBUG", "+          value: \"true\""]),
        (
            "set the worker memory limit to 256Mi",
            &["@k8s/worker.yaml", "-              memory: 64Mi", "+              memory: 256Mi"],
        ),
        ("change the service port to 8080", &["@k8s/web.yaml", "-    port: 80", "+    port: 8080"]),
        ("make the web service a LoadBalancer", &["@k8s/web.yaml", "+  type: LoadBalancer"]),
        ("set spec.replicas to 4 in the worker", &["@k8s/worker.yaml", "-  replicas: 1", "+  replicas: 4"]),
        (
            "add a readiness probe on /ready to web",
            &[
                "@k8s/web.yaml",
                "+        readinessProbe:",
                "+          httpGet:",
                "+            path: /ready",
                "+            port: http",
            ],
        ),
    ] {
        check(&files, request, lines).await;
    }
    let lines = change(&files, "put an ingress on web.example.com").await;
    assert_eq!(lines[0], "@k8s/ingress.yaml");
    assert!(
        lines.contains(&"+    - host: web.example.com".to_owned()) && lines.contains(&"+                  name: http".to_owned()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn crlf_files_stay_crlf() {
    let mut files = suite();
    for (_, text) in &mut files {
        *text = text.replace('\n', "\r\n");
    }
    let request = "run three gateway replicas, give the worker 1Gi of memory and put an ingress on a.example.com";
    let plan = plan(&files, request, "").await;
    let before = files.clone();
    apply(&mut files, request, &plan).await;
    let values = &files[1].1;
    assert_eq!(values.matches('\n').count(), values.matches("\r\n").count());
    assert!(changed(&before, &files).contains(&"+  replicas: 3".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let why = refused(&suite(), "scale redis to 3").await;
    assert!(why.contains("redis") && why.contains("gateway") && why.contains("not a language model"), "{why}");
    assert!(refused(&suite(), "rewrite the chart in Jsonnet").await.contains("not understood"));
    assert!(refused(&suite(), "run two replicas").await.contains("say which"));
    assert!(refused(&created(), "autoscale between 5 and 2 pods").await.contains("more than the most"));
    assert!(refused(&files(&[("main.go", "package main\n")]), "scale to 3").await.contains("no chart"));
    assert!(refused(&suite(), "run 1 gateway replica").await.contains("say so already"));
    let plan = plan(&suite(), "run three gateway replicas and make it pretty", "").await;
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1);
    assert!(
        plan["cannot"].as_str().unwrap().contains("make it pretty")
            && plan["summary"].as_str().unwrap().contains("Not part of this plan")
    );
}

#[tokio::test]
async fn plans_are_revised() {
    let request = "run three gateway replicas and put an ingress on slipway.example.com";
    let first = plan(&suite(), request, "").await;
    let revise = |instructions: &str| {
        format!("<previous_plan>\n{}\n</previous_plan>\n<instructions>\n{instructions}\n</instructions>", first["steps"])
    };
    let reason = |plan: &Json| plan["steps"][0]["reason"].as_str().unwrap_or_default().to_owned();

    let five = plan(&suite(), request, &revise("use five replicas instead")).await;
    assert!(reason(&five).starts_with("set gateway.replicas to 5 (now 1); set gateway.ingress.enabled to true"), "{five}");
    let without = plan(&suite(), request, &revise("leave out the ingress")).await;
    assert_eq!(reason(&without), "set gateway.replicas to 3 (now 1)");
    let only = plan(&suite(), request, &revise("only the ingress, please")).await;
    assert!(reason(&only).starts_with("set gateway.ingress.enabled to true"), "{only}");
    let more = plan(&suite(), request, &revise("also set the log level to debug")).await;
    assert!(reason(&more).contains("set gateway.replicas to 3") && reason(&more).contains("set logLevel to debug"), "{more}");
    let host = plan(&suite(), request, &revise("put the ingress on other.example.com instead")).await;
    assert!(
        reason(&host).contains("set gateway.ingress.host to other.example.com") && !reason(&host).contains("slipway.example"),
        "{host}"
    );

    let mut files = suite();
    let before = files.clone();
    apply(&mut files, request, &five).await;
    assert!(changed(&before, &files).contains(&"+  replicas: 5".to_owned()));
}

#[tokio::test]
async fn the_named_file_is_changed() {
    let mut files = created();
    files.push(("values-prod.yaml".into(), "replicaCount: 2\n".into()));
    let lines = change(&files, "set replicaCount to 6 in values-prod.yaml").await;
    assert_eq!(lines, ["@values-prod.yaml", "-replicaCount: 2", "+replicaCount: 6"]);
}

/// Slipway's own chart, as it is in the repository.
fn own_chart() -> Files {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/helm/slipway");
    let mut files = Files::new();
    for dir in ["", "templates"] {
        let mut entries: Vec<_> =
            std::fs::read_dir(root.join(dir)).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    files
}

#[tokio::test]
async fn our_own_chart() {
    let own = own_chart();
    for (request, added) in [
        (
            "run three gateway replicas and put an ingress on slipway.example.com",
            &["+  replicas: 3", "+    enabled: true", "+    host: \"slipway.example.com\""][..],
        ),
        (
            "enable autoscaling for the gateway between 3 and 9 replicas",
            &["+    enabled: true", "+    minReplicas: 3", "+    maxReplicas: 9"],
        ),
        ("give the planner 1Gi of memory", &["+      memory: 1Gi", "+      memory: 1Gi"]),
        ("set env RUST_LOG=debug on the gateway", &["+  extraEnv:", "+    - name: RUST_LOG", "+      value: debug"]),
        ("set the image tag to v0.2.0", &["+  tag: \"v0.2.0\""]),
        ("change the gateway service type to LoadBalancer", &["+    type: LoadBalancer"]),
        ("set the bus url to nats://other:4222", &["+  url: nats://other:4222"]),
        ("use the ingress class traefik", &["+    enabled: true", "+    className: traefik"]),
    ] {
        let lines = change(&own, request).await;
        let plus: Vec<&String> = lines.iter().filter(|l| l.starts_with('+')).collect();
        assert_eq!(plus, added, "{request}: {lines:#?}");
    }
}

#[tokio::test]
async fn a_path_may_begin_in_an_empty_mapping() {
    let created = created();
    check(&created, "set resources.limits.cpu to 2", &["-resources: {}", "+resources:", "+  limits:", "+    cpu: 2"]).await;
    let plan = plan(&created, "set resources.limits.cpu to 2", "").await;
    assert_eq!(plan["summary"], "Update values.yaml.", "a template takes the resources whole");
    assert!(refused(&created, "set foo.bar.baz to 3").await.contains("no key"));
    assert!(refused(&created, "set ingress.tls.secret to x").await.contains("no key"), "a list is no mapping");
}

#[tokio::test]
async fn what_would_be_garbled_is_refused() {
    let created = created();
    assert!(refused(&created, "set image.tag to {{ .Values.x }}").await.contains("template"));
    assert!(refused(&created, "set nameOverride to a: b # c").await.contains("in quotes"));
    let lines = ["-nameOverride: \"\"", "+nameOverride: \"a: b # c\""];
    check(&created, "set nameOverride to \"a: b # c\"", &lines).await;
}

#[tokio::test]
async fn words_around_an_order_name_nothing() {
    let created = created();
    for request in ["Yes, but use 5 replicas", "sure, use 5 replicas", "scale down to 5 replicas"] {
        check(&created, request, &["-replicaCount: 1", "+replicaCount: 5"]).await;
    }
}
