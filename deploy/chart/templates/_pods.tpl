{{/* What the pods of both components have in common. */}}

{{/* Nothing of a pod runs as root, and nothing of it speaks to the API server. Triton's image has a
     user 1000; the group lets it write to the volumes of the pod. */}}
{{- define "tritonclip.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "tritonclip.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where pods may and may not run: [root, values of the component]. */}}
{{- define "tritonclip.placement" -}}
{{- $values := index . 1 -}}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClass }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* An address disappears from the cluster's balancers a little after its pod is told to stop; until
     then the pod serves on. What it has accepted by then it answers, so it may take that, as long as
     the longest request, and a little for its own end. */}}
{{- define "tritonclip.gracePeriod" -}}
{{ add .addressSeconds .longestRequestSeconds 10 }}
{{- end -}}

{{- define "tritonclip.drain" -}}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .addressSeconds }}
{{- end -}}
