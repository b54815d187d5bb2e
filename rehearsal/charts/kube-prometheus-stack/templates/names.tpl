{{- /* selector: of one component's pods. root and name. */ -}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- /* service: in front of one component. root, name, its component, port and targetPort; the port's name is "http-web". */ -}}
{{- define "service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  ports:
    - {name: http-web, port: {{ .port }}, targetPort: {{ .targetPort }}}
  selector: {{- .selector | nindent 4 }}
{{- end -}}

{{- /* monitor: has Prometheus ask a component behind its service. root and name. */ -}}
{{- define "monitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "labels" .root | nindent 4 }}
    release: {{ .root.Release.Name }}
spec:
  endpoints:
    - {port: http-web, interval: 60s}
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      app.kubernetes.io/component: {{ .name }}
{{- end -}}
