{{/* What the templates share: names, labels, and the table of components. */}}

{{- define "slipway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The prefix of all names, short enough for the longest suffix. */}}
{{- define "slipway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "slipway.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "slipway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "slipway.selectorLabels" . }}
{{- end }}

{{- define "slipway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slipway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "slipway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "slipway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* "true" when a component has a service account of its own: `dict "root" $ "name" "file-store"`. */}}
{{- define "slipway.ownAccount" -}}
{{- if and (eq .name "file-store") (include "slipway.atScale" .root) .root.Values.fileStore.s3.serviceAccountAnnotations }}true{{ end }}
{{- end }}

{{- define "slipway.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "slipway.identitySecret" -}}
{{- default (printf "%s-identity" (include "slipway.fullname" .)) .Values.identity.existingSecret }}
{{- end }}

{{/*
The components: the name in `slipway serve`, its key in the values, whether it keeps data, who calls it, and which engines it
reaches besides. Callers and engines are what the NetworkPolicies allow; an engine of mode `scale` counts there alone.
*/}}
{{- define "slipway.components" -}}
- {name: gateway, key: gateway, stateful: false, callers: [], engines: []}
- {name: conversation, key: conversation, stateful: true, callers: [gateway], engines: [store]}
- {name: planner, key: planner, stateful: true, callers: [gateway, conversation], engines: [store]}
- {name: file-store, key: fileStore, stateful: true, callers: [gateway, conversation, planner, embedding], engines: [store, s3]}
- {name: embedding, key: embedding, stateful: true, callers: [gateway, conversation, planner], engines: [store, qdrant]}
- {name: inference, key: inference, stateful: true, callers: [gateway, conversation, planner], engines: [store, models]}
{{- end }}

{{/* "true" in mode `scale`, where no component keeps state, else nothing. */}}
{{- define "slipway.atScale" -}}
{{- if eq .Values.mode "scale" }}true{{ end }}
{{- end }}

{{/* The components that may run in several replicas: in mode `scale` all, else those that keep no state. */}}
{{- define "slipway.scalable" -}}
{{- range include "slipway.components" . | fromYamlArray }}
{{- if or (not .stateful) (include "slipway.atScale" $) }}
- {name: {{ .name }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}

{{/*
"true" when callers choose among a component's pods by DNS: in mode `scale`, unless a mesh chooses. There is a headless Service
for each component then.
*/}}
{{- define "slipway.byDns" -}}
{{- if and (include "slipway.atScale" .) (not .Values.mesh.enabled) }}true{{ end }}
{{- end }}

{{/* The Secret with a component's certificate: `dict "root" $ "name" "planner"`. */}}
{{- define "slipway.tlsSecret" -}}
{{- default (printf "%s-%s-mtls" (include "slipway.fullname" .root) .name) .root.Values.tls.existingSecret }}
{{- end }}

{{/*
How a component is probed: `dict "root" $ "name" "planner" "path" "/healthz"`. The kubelet has no certificate to show, so a
port that wants TLS is not probed itself.
*/}}
{{- define "slipway.probe" -}}
{{- $front := and (eq .name "gateway") .root.Values.gateway.tls.existingSecret }}
{{- if or $front (and .root.Values.tls.enabled (ne .name "gateway")) }}
httpGet:
  port: metrics
  path: {{ .path }}
{{- else }}
grpc:
  port: 50051
{{- end }}
{{- end }}

{{/* What does not fit together, said in a sentence. Types and required values are in values.schema.json. */}}
{{- define "slipway.check" -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.drainSeconds) }}
{{- fail "terminationGracePeriodSeconds must be longer than drainSeconds: a pod that is killed while it drains cuts calls off" }}
{{- end }}
{{- if and .Values.tls.enabled .Values.mesh.enabled }}
{{- fail "tls.enabled and mesh.enabled exclude each other: a mesh cannot balance what it cannot read" }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) (not .Values.tls.certManager.issuer.name) }}
{{- fail "tls.enabled needs tls.existingSecret or tls.certManager.issuer.name" }}
{{- end }}
{{- end }}
