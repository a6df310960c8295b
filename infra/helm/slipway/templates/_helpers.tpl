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

{{- define "slipway.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "slipway.identitySecret" -}}
{{- default (printf "%s-identity" (include "slipway.fullname" .)) .Values.identity.existingSecret }}
{{- end }}

{{/*
The components: the name in `slipway serve`, its key in the values, whether it keeps data, and who calls it.
The callers are what the NetworkPolicies allow.
*/}}
{{- define "slipway.components" -}}
- {name: gateway, key: gateway, stateful: false, callers: []}
- {name: conversation, key: conversation, stateful: true, callers: [gateway]}
- {name: planner, key: planner, stateful: true, callers: [gateway, conversation]}
- {name: file-store, key: fileStore, stateful: true, callers: [gateway, conversation, planner, embedding]}
- {name: embedding, key: embedding, stateful: true, callers: [gateway, conversation, planner]}
- {name: inference, key: inference, stateful: false, callers: [gateway, conversation, planner]}
{{- end }}

{{/* The components that keep no state and so may run in several replicas. */}}
{{- define "slipway.scalable" -}}
- {name: gateway, key: gateway}
- {name: inference, key: inference}
{{- end }}
