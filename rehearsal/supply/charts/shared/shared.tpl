{{- /* Templates for all charts of this package. */ -}}

{{- /* labels: the labels of every object. The argument is the root context. */ -}}
{{- define "labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* account: a ServiceAccount with a ClusterRole and its binding. Arguments: root, name, rules. */ -}}
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

{{- /* placement: a pod's nodeSelector and tolerations. The argument is an object with both. */ -}}
{{- define "placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
controller: the Deployment of a stand-in, whose service account has the same name. Arguments: root, name, image, args,
values (with nodeSelector, tolerations, resources and the security contexts of pod and container), replicas, the probes'
port and their paths live and ready, and optionally env.
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
      {{- with .values.podSecurityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          {{- with .values.securityContext }}
          securityContext: {{- toYaml . | nindent 12 }}
          {{- end }}
          image: {{ .image }}
          args: {{- toYaml .args | nindent 12 }}
          {{- with .env }}
          env: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - {name: health, containerPort: {{ .port }}}
          livenessProbe:
            httpGet: {path: {{ .live }}, port: health}
            {{- include "probeTimeouts" . | nindent 12 }}
          readinessProbe:
            httpGet: {path: {{ .ready }}, port: health}
            timeoutSeconds: 5
          {{- with .values.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end -}}

{{/*
restricted: the security context that upstream's charts give their containers by default. Argument: the user's number.
*/}}
{{- define "restricted" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/*
probeTimeouts: how long a container may not answer before the kubelet restarts it. Kubernetes' default is three times
one second. But fourteen nodes on one host's processors answer late while many things start at once, and each restart
adds to the load.
*/}}
{{- define "probeTimeouts" -}}
timeoutSeconds: 5
failureThreshold: 6
{{- end -}}
