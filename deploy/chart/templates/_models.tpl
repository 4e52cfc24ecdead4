{{/* Where the servers have their models from. */}}

{{- define "tritonclip.repository" -}}
{{- $models := .Values.models -}}
{{- if eq $models.source "objectStore" -}}
{{ $models.objectStore.url }}
{{- else if and (eq $models.source "image") $models.image.path -}}
/models/{{ trimAll "/" $models.image.path }}
{{- else if eq $models.source "assemble" -}}
/models/repository
{{- else -}}
/models
{{- end -}}
{{- end -}}

{{- define "tritonclip.modelMounts" -}}
{{- $models := .Values.models -}}
{{- if ne $models.source "objectStore" }}
- name: models
  mountPath: /models
  readOnly: true
  {{- if and (eq $models.source "volume") $models.volume.subPath }}
  subPath: {{ $models.volume.subPath }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tritonclip.modelVolumes" -}}
{{- $models := .Values.models -}}
{{- if eq $models.source "volume" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ $models.volume.claim }}
    readOnly: true
{{- else if eq $models.source "image" }}
- name: models
  image:
    reference: {{ $models.image.reference }}
    pullPolicy: {{ $models.image.pullPolicy }}
{{- else if eq $models.source "assemble" }}
- name: models
  emptyDir:
    sizeLimit: {{ $models.assemble.size }}
- name: bundles
  {{- if $models.assemble.bundles.image }}
  image:
    reference: {{ $models.assemble.bundles.image }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ $models.assemble.bundles.claim }}
    readOnly: true
  {{- end }}
{{- end }}
{{- end -}}

{{/* The init container that assembles a repository from bundles, for this pod alone. */}}
{{- define "tritonclip.assembling" -}}
{{- $assemble := .Values.models.assemble -}}
- name: assemble
  image: {{ include "tritonclip.image" (list . $assemble.image) }}
  imagePullPolicy: {{ $assemble.image.pullPolicy }}
  args:
    - assemble
    {{- range $assemble.bundles.names }}
    - /bundles/{{ . }}
    {{- end }}
    - --output=/models/repository
    {{- range $assemble.arguments }}
    - {{ . | quote }}
    {{- end }}
  env:
    - {name: HOME, value: /tmp}
  resources:
    {{- toYaml $assemble.resources | nindent 4 }}
  securityContext:
    {{- include "tritonclip.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: bundles, mountPath: /bundles, readOnly: true}
    - {name: temporary, mountPath: /tmp}
{{- end -}}
