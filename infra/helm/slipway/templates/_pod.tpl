{{/* What the pods of the components are made of, so that deployment.yaml reads as one page. */}}

{{/* An environment variable from a Secret: `dict "name" NAME "secret" SECRET "key" KEY`. */}}
{{- define "slipway.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{/* The environment of a component: `dict "root" $ "component" .`. Settings that are secrets come this way. */}}
{{- define "slipway.env" -}}
{{- $root := .root }}
{{- $values := index $root.Values .component.key }}
{{- $scale := include "slipway.atScale" $root }}
- name: SLIPWAY_TELEMETRY__SERVICE_NAME
  value: slipway-{{ .component.name }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_IDENTITY__KEY" "secret" (include "slipway.identitySecret" $root) "key" $root.Values.identity.key) }}
{{- if eq .component.name "gateway" }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_GATEWAY__TOKENS" "secret" $values.auth.existingSecret "key" $values.auth.tokensKey) }}
{{- end }}
{{- if and $scale .component.stateful }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_STORE__URL" "secret" $root.Values.store.existingSecret "key" .component.name) }}
{{- end }}
{{- if and $scale $values.s3 }}
{{- with $values.s3 }}
{{- if .existingSecret }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_FILE_STORE__S3__ACCESS_KEY_ID" "secret" .existingSecret "key" .accessKeyIdKey) }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_FILE_STORE__S3__SECRET_ACCESS_KEY" "secret" .existingSecret "key" .secretAccessKeyKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $scale $values.qdrant }}
{{- with $values.qdrant }}
{{- if .existingSecret }}
{{ include "slipway.secretEnv" (dict "name" "SLIPWAY_EMBEDDING__QDRANT__API_KEY" "secret" .existingSecret "key" .apiKeyKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $values.providerKeys }}
{{ include "slipway.secretEnv" (dict "name" .name "secret" .secretName "key" .secretKey) }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a component's volumes are mounted: `dict "root" $ "component" .`. */}}
{{- define "slipway.mounts" -}}
{{- $root := .root }}
{{- $values := index $root.Values .component.key }}
- name: config
  mountPath: /etc/slipway
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if .component.stateful }}
- name: data
  mountPath: /var/lib/slipway
{{- end }}
{{- if and $values.weights $values.weights.existingClaim }}
- name: weights
  mountPath: /var/lib/slipway-weights
  readOnly: true
{{- end }}
{{- if $root.Values.tls.enabled }}
- name: tls
  mountPath: /tls
  readOnly: true
{{- end }}
{{- if and $values.tls $values.tls.existingSecret }}
- name: front-tls
  mountPath: /front-tls
  readOnly: true
{{- end }}
{{- if $root.Values.bus.existingSecret }}
- name: bus
  mountPath: /bus
  readOnly: true
{{- end }}
{{- end }}

{{/* A component's volumes: `dict "root" $ "component" .`. */}}
{{- define "slipway.volumes" -}}
{{- $root := .root }}
{{- $values := index $root.Values .component.key }}
- name: config
  configMap:
    name: {{ include "slipway.fullname" $root }}
- name: tmp
  emptyDir: {}
{{- if .component.stateful }}
- name: data
  {{- if and $values.persistence.enabled (not (include "slipway.atScale" $root)) }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-%s" (include "slipway.fullname" $root) .component.name) $values.persistence.existingClaim }}
  {{- else if and $values.cache (gt (int $values.cache.mib) 0) }}
  emptyDir:
    # A quarter more than the cache: it removes what is old after it has written what is new.
    sizeLimit: {{ div (mul (int $values.cache.mib) 5) 4 }}Mi
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- if and $values.weights $values.weights.existingClaim }}
- name: weights
  persistentVolumeClaim:
    claimName: {{ $values.weights.existingClaim }}
    readOnly: true
{{- end }}
{{- if $root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "slipway.tlsSecret" (dict "root" $root "name" .component.name) }}
{{- end }}
{{- if and $values.tls $values.tls.existingSecret }}
- name: front-tls
  secret:
    secretName: {{ $values.tls.existingSecret }}
{{- end }}
{{- if $root.Values.bus.existingSecret }}
- name: bus
  secret:
    secretName: {{ $root.Values.bus.existingSecret }}
{{- end }}
{{- end }}
