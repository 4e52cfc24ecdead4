{{/* Names and labels. */}}
{{- define "tritonclip.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tritonclip.server" -}}{{ include "tritonclip.name" . }}-server{{- end -}}
{{- define "tritonclip.gateway" -}}{{ include "tritonclip.name" . }}-gateway{{- end -}}

{{/* What selects the pods of a component: [root, component]. */}}
{{- define "tritonclip.selector" -}}
app.kubernetes.io/name: {{ default (index . 0).Chart.Name (index . 0).Values.nameOverride }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tritonclip.labels" -}}
{{ include "tritonclip.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end -}}

{{/* An image of the values: [root, image]; without a tag, that of the chart's own version. */}}
{{- define "tritonclip.image" -}}
{{ (index . 1).repository }}:{{ default (index . 0).Chart.AppVersion (index . 1).tag }}
{{- end -}}

{{- define "tritonclip.keys" -}}
{{- if .Values.gateway.keys.secret -}}{{ .Values.gateway.keys.secret }}
{{- else if .Values.gateway.keys.create -}}{{ include "tritonclip.gateway" . }}-keys
{{- end -}}
{{- end -}}
