# shellcheck shell=bash
#
# Installs Argo CD from its pinned manifest, patched by a kustomization, waits for
# it, and empties its default project. Its server and its controllers read
# argocd-cmd-params-cm when they start, so they are restarted when, and only when,
# that has changed under a server that was there before.
#
# Needs --manifest-url, --manifest-sha256 and --files-mirror (empty without one),
# and on standard input a kustomization whose resource is install.yaml.

set -euo pipefail

argocd() { kubectl --namespace=argocd "$@"; }

parameters_hash() {
  argocd get configmap argocd-cmd-params-cm --output=jsonpath='{.data}' | sha256sum | cut --characters=1-16
}

# The Deployment's annotation, and not the ConfigMap's old content, tells what the
# server runs with: so a run that stopped half-way is made good by the next.
running_hash() {
  argocd get deployment argocd-server --output=jsonpath='{.metadata.annotations.eco2\.io/parameters}'
}

# Parameters that somebody else has set may be what the server runs with by now.
forget_if_changed_by_others() {
  [[ $(parameters_hash) == "$(running_hash)" ]] ||
    argocd annotate deployment argocd-server eco2.io/parameters- >/dev/null
}

restart_if_needed() { # WHETHER-IT-WAS-THERE
  local wanted
  wanted=$(parameters_hash)
  [[ $(running_hash) != "$wanted" ]] || return 0
  if [[ -n $1 ]]; then
    step 'restarting argocd-server and the controllers, whose parameters have changed'
    argocd rollout restart deployment/argocd-server deployment/argocd-applicationset-controller \
      statefulset/argocd-application-controller >/dev/null
  fi
  argocd annotate --overwrite deployment argocd-server "eco2.io/parameters=$wanted" >/dev/null
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

# The server makes this project, which may do anything, where it is missing. An
# Application that names no project, or this one, would get by the others' limits.
empty_default_project() {
  step "emptying Argo CD's default project"
  apply - <<'PROJECT'
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  description: Admits nothing; Applications name another project
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
  apply - <<<'{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}'
  apply "$SCRATCH/argocd-patched.yaml" --namespace=argocd
  restart_if_needed "$before"
  await_workloads
  empty_default_project
  step 'Argo CD is up'
}

main "$@"; exit
