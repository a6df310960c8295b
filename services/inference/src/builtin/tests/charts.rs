//! Charts and manifests as they are found in the wild, written for these tests.

use super::{Files, files};

/// Several components in one chart, an Ingress for one of them.
pub(in crate::builtin) const SUITE_VALUES: &str = "\
# Defaults of the suite.
global:
  imagePullSecrets: []

gateway:
  # -- How many gateways run
  replicas: 1
  image:
    repository: ghcr.io/acme/gateway # the one image
    tag: \"1.4.0\"
  service:
    type: ClusterIP
    port: 50051
  resources:
    requests:
      cpu: 100m
      memory: 128Mi
    limits:
      memory: 256Mi
  extraEnv: []
  livenessProbe:
    grpc:
      port: 50051
    initialDelaySeconds: 5
  ingress:
    enabled: false
    className: \"\"
    host: \"\"
    annotations: {}
    tls:
      enabled: false
      secretName: \"\"

worker:
  replicaCount: 2
  image: ghcr.io/acme/worker:1.4.0
  env:
    LOG_LEVEL: info
  resources: {}
    # limits:
    #   cpu: 100m
  podAnnotations: {}

logLevel: info
metrics:
  enabled: false
terminationGracePeriodSeconds: 30
";

pub(super) fn suite() -> Files {
    files(&[
        ("Chart.yaml", "apiVersion: v2\nname: suite\nversion: 0.1.0\nappVersion: \"1.4.0\"\n"),
        ("values.yaml", SUITE_VALUES),
        ("README.md", "# Suite\n"),
        (
            "templates/ingress.yaml",
            "{{- if .Values.gateway.ingress.enabled }}\nkind: Ingress\nspec:\n  rules:\n    - host: {{ .Values.gateway.ingress.host }}\n{{- end }}\n",
        ),
        (
            "templates/gateway.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: gateway\nspec:\n  replicas: {{ .Values.gateway.replicas }}\n",
        ),
    ])
}

/// What `helm create` makes.
pub(super) const CREATED_VALUES: &str = "\
# Default values for web.

replicaCount: 1

image:
  repository: nginx
  pullPolicy: IfNotPresent
  # Overrides the image tag whose default is the chart appVersion.
  tag: \"\"

imagePullSecrets: []
nameOverride: \"\"

serviceAccount:
  create: true
  annotations: {}

podAnnotations: {}
podLabels: {}

service:
  type: ClusterIP
  port: 80

ingress:
  enabled: false
  className: \"\"
  annotations: {}
    # kubernetes.io/ingress.class: nginx
  hosts:
    - host: chart-example.local
      paths:
        - path: /
          pathType: ImplementationSpecific
  tls: []
  #  - secretName: chart-example-tls
  #    hosts:
  #      - chart-example.local

resources: {}
  # limits:
  #   cpu: 100m

livenessProbe:
  httpGet:
    path: /
    port: http
readinessProbe:
  httpGet:
    path: /
    port: http

autoscaling:
  enabled: false
  minReplicas: 1
  maxReplicas: 100
  targetCPUUtilizationPercentage: 80
  # targetMemoryUtilizationPercentage: 80

nodeSelector: {}

tolerations: []
";

const CREATED_DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include \"web.fullname\" . }}
  labels:
    {{- include \"web.labels\" . | nindent 4 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  template:
    metadata:
      {{- with .Values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          image: \"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\"
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          ports:
            - name: http
              containerPort: {{ .Values.service.port }}
          {{- with .Values.livenessProbe }}
          livenessProbe:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .Values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
";

const CREATED_INGRESS: &str = "\
{{- if .Values.ingress.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include \"web.fullname\" . }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if .Values.ingress.tls }}
  tls:
    {{- range .Values.ingress.tls }}
    - hosts:
        {{- range .hosts }}
        - {{ . | quote }}
        {{- end }}
      secretName: {{ .secretName }}
    {{- end }}
  {{- end }}
  rules:
    {{- range .Values.ingress.hosts }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ .path }}
          {{- end }}
    {{- end }}
{{- end }}
";

pub(super) fn created() -> Files {
    files(&[
        (
            "Chart.yaml",
            "apiVersion: v2\nname: web\ndescription: A web server\ntype: application\nversion: 0.1.0\nappVersion: \"1.16.0\"\n",
        ),
        ("values.yaml", CREATED_VALUES),
        ("templates/deployment.yaml", CREATED_DEPLOYMENT),
        ("templates/ingress.yaml", CREATED_INGRESS),
        ("templates/NOTES.txt", "thanks\n"),
    ])
}

/// A small chart written by hand: no ingress, no autoscaling, no resources.
pub(super) fn bare() -> Files {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}-shop\n  labels:\n    {{- include \"shop.labels\" . | nindent 4 }}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector:\n    matchLabels:\n      app: shop\n  template:\n    spec:\n      containers:\n        - name: shop\n          image: {{ .Values.image }}\n          ports:\n            - containerPort: 8080\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}-shop\n  labels:\n    {{- include \"shop.labels\" . | nindent 4 }}\nspec:\n  ports:\n    - port: {{ .Values.service.port }}\n      targetPort: 8080\n";
    files(&[
        ("shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n"),
        ("shop/values.yaml", "image: acme/shop:1.0\nreplicas: 1\nservice:\n  port: 80\n"),
        ("shop/templates/deployment.yaml", deployment),
        ("shop/templates/service.yaml", service),
    ])
}

/// Plain manifests, several objects in one file.
pub(super) fn manifests() -> Files {
    let web = "\
# The web server
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2 # two are enough
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:1.25
        ports:
        - name: http
          containerPort: 80
        env:
        - name: MODE
          value: \"prod\"
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
  - name: http
    port: 80
";
    let worker = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: worker\n  namespace: jobs\nspec:\n  replicas: 1\n  template:\n    spec:\n      containers:\n        - name: worker\n          image: acme/worker\n          resources:\n            limits:\n              memory: 64Mi\n";
    files(&[("k8s/web.yaml", web), ("k8s/worker.yaml", worker)])
}
