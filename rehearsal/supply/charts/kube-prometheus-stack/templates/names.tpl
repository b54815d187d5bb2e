{{- /*
selector: the labels of a component's pods. Arguments: root, name, and optionally app, the program's name, which the
network policies refer to.
*/ -}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ .app | default .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- /* service: a component's Service with port "http-web". Arguments: root, name, selector, port, targetPort. */ -}}
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

{{- /* monitor: the ServiceMonitor for a component's Service. Arguments: root, name. */ -}}
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
