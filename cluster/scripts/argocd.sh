# shellcheck shell=bash
#
# Installs Argo CD from its pinned manifest, patched by a kustomization, waits until
# it is ready, and removes all permissions from its default project. Its server and
# controllers read argocd-cmd-params-cm only when they start, so they are restarted
# if, and only if, it has changed since the running server was started.
#
# Flags: --manifest-url, --manifest-sha256 and --files-mirror (empty without one).
# Standard input: a kustomization whose resource is install.yaml.

set -euo pipefail

argocd() { kubectl --namespace=argocd "$@"; }

parameters_hash() {
  argocd get configmap argocd-cmd-params-cm --output=jsonpath='{.data}' | sha256sum | cut --characters=1-16
}

# The Deployment's annotation, and not the old content of the ConfigMap, says which
# parameters the server runs with. So the next run completes one that was interrupted
# between changing the ConfigMap and restarting the server.
running_hash() {
  argocd get deployment argocd-server --output=jsonpath='{.metadata.annotations.eco2\.io/parameters}'
}

# If somebody else has changed the parameters, it is unknown which of them the server runs with.
forget_if_changed_by_others() {
  [[ $(parameters_hash) == "$(running_hash)" ]] ||
    argocd annotate deployment argocd-server eco2.io/parameters- >/dev/null
}

restart_if_needed() { # SERVER-BEFORE, empty if there was none
  local current
  current=$(parameters_hash)
  [[ $(running_hash) != "$current" ]] || return 0
  if [[ -n $1 ]]; then
    step 'restarting argocd-server and the controllers, whose parameters have changed'
    argocd rollout restart deployment/argocd-server deployment/argocd-applicationset-controller \
      statefulset/argocd-application-controller >/dev/null
  fi
  argocd annotate --overwrite deployment argocd-server "eco2.io/parameters=$current" >/dev/null
}

await_workloads() {
  local workloads workload deadline=$((SECONDS + 600))
  workloads=$(argocd get deployments,statefulsets --selector=app.kubernetes.io/part-of=argocd --output=name)
  for workload in $workloads; do
    step "waiting for $workload"
    argocd rollout status "$workload" --timeout="$((deadline > SECONDS ? deadline - SECONDS : 1))s" >/dev/null || {
      argocd get pods --output=wide >&2
      die "$workload does not come up; see 'kubectl -n argocd describe pods' for the reason"
    }
  done
}

# If this project is missing, the server creates it with all permissions. An
# Application that names this project, or none, would then escape the restrictions of
# the other projects. So the project must exist and permit nothing.
empty_default_project() {
  step "emptying Argo CD's default project"
  apply - <<'PROJECT'
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  description: Permits nothing; Applications must name another project
  sourceRepos: []
  destinations: []
  clusterResourceWhitelist: []
  namespaceResourceBlacklist: [{group: "*", kind: "*"}]
PROJECT
}

main() {
  # shellcheck disable=SC2034 # files_mirror: upstream reads it
  local manifest_url manifest_sha256 files_mirror before
  flags manifest-url manifest-sha256 files-mirror -- "$@"
  mkdir "$SCRATCH/argocd"
  cat >"$SCRATCH/argocd/kustomization.yaml"
  step "downloading $manifest_url"
  download "$manifest_url" "$manifest_sha256" "$SCRATCH/argocd/install.yaml"
  kubectl kustomize "$SCRATCH/argocd" >"$SCRATCH/argocd-patched.yaml"
  before=$(argocd get deployment argocd-server --ignore-not-found --output=name)
  [[ -z $before ]] || forget_if_changed_by_others
  step 'applying Argo CD'
  apply - <<'NAMESPACE'
apiVersion: v1
kind: Namespace
metadata:
  name: argocd
  labels: {pod-security.kubernetes.io/enforce: restricted}
NAMESPACE
  apply "$SCRATCH/argocd-patched.yaml" --namespace=argocd
  restart_if_needed "$before"
  await_workloads
  empty_default_project
  step 'Argo CD is up'
}

main "$@"; exit
