{{- /* What the charts of ours have in common. */ -}}

{{- /* labels: of every object; with the root context. */ -}}
{{- define "labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* account: what a component may do in the cluster. root, name and rules, a list of a ClusterRole. */ -}}
{{- define "account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "labels" .root | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .name }}
  labels: {{- include "labels" .root | nindent 4 }}
rules: {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .name }}
  labels: {{- include "labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .name }}}
subjects:
  - {kind: ServiceAccount, name: {{ .name }}, namespace: {{ .root.Release.Namespace }}}
{{- end -}}

{{- /* placement: where a pod may run, from values with nodeSelector and tolerations. */ -}}
{{- define "placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
controller: a Deployment of one of ours with its account's name. root, name, image, args, values with
nodeSelector, tolerations and resources, replicas, and the port, live and ready of its probes; env, if it has any.
*/ -}}
{{- define "controller" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "labels" .root | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  selector:
    matchLabels: &pods
      app.kubernetes.io/name: {{ .root.Chart.Name }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      app.kubernetes.io/component: {{ .name }}
  template:
    metadata:
      labels: *pods
    spec:
      serviceAccountName: {{ .name }}
      {{- include "placement" .values | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ .image }}
          args: {{- toYaml .args | nindent 12 }}
          {{- with .env }}
          env: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - {name: health, containerPort: {{ .port }}}
          livenessProbe:
            httpGet: {path: {{ .live }}, port: health}
            {{- include "patience" . | nindent 12 }}
          readinessProbe:
            httpGet: {path: {{ .ready }}, port: health}
            timeoutSeconds: 5
          {{- with .values.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end -}}

{{/*
patience is for how long a container may not answer before the kubelet restarts it. Kubernetes' default is three times
one second, but fourteen nodes on one host's processors answer late when much begins at once, and each restart is more to
begin.
*/}}
{{- define "patience" -}}
timeoutSeconds: 5
failureThreshold: 6
{{- end -}}
