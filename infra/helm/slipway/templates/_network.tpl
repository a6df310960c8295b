{{/* What the NetworkPolicies are made of. */}}

{{/* The pods of a component as a peer: `dict "root" $ "name" "planner"`. */}}
{{- define "slipway.peer" -}}
- podSelector:
    matchLabels:
      {{- include "slipway.selectorLabels" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* The rules that let a component out to the name server and the engines: `dict "root" $ "component" .`. */}}
{{- define "slipway.egress" -}}
{{- $egress := .root.Values.networkPolicy.egress }}
{{- $scale := include "slipway.atScale" .root }}
{{- range $port := $egress.dns.ports }}
- ports:
    - port: {{ $port }}
      protocol: UDP
    - port: {{ $port }}
      protocol: TCP
  {{- with $egress.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- $engines := list "bus" }}
{{- range .component.engines }}
{{- if or $scale (eq . "models") }}
{{- $engines = append $engines . }}
{{- end }}
{{- end }}
{{- if .root.Values.telemetry.otlpEndpoint }}
{{- $engines = append $engines "otlp" }}
{{- end }}
{{- range $engine := $engines }}
{{- with index $egress $engine }}
# {{ $engine }}
- ports:
    {{- range .ports }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
