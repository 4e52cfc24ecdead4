{{/* What autoscaling asks Prometheus; deploy/autoscaling has the same for its adapter.

     The queue: of every model of a pod, milliseconds that a request has waited in it on average over
     the last minute; the slowest model's counts, averaged over pods. Without requests it is 0, not
     undefined. */}}
{{- define "tritonclip.queueQuery" -}}
avg(max by (pod) (1e-3 * sum by (pod, model) (rate(nv_inference_queue_duration_us{ {{- . -}} }[1m])) / clamp_min(sum by (pod, model) (rate(nv_inference_request_success{ {{- . -}} }[1m])), 0.001)))
{{- end -}}

{{/* Requests a second that users send: those of models at which a request arrives. */}}
{{- define "tritonclip.requestsQuery" -}}
sum(rate(nv_inference_request_success{ {{- . -}} ,model=~".+_(image|text|zero_shot)"}[1m]))
{{- end -}}
