# shellcheck shell=bash
#
# Installs Calico from its pinned manifest, patched by a kustomization, and the policy
# for the metadata service. There is no operator: this script is the one owner of
# Calico's objects, and runs again only if something changes. It does not wait for the
# nodes, which may still be joining; ready.sh does.
#
# Flags: --manifest-url, --manifest-sha256 and --files-mirror (empty without one).
# Standard input: kustomization.yaml, whose resource is calico.yaml, and
# metadata-service.yaml, as split_files reads them.

set -euo pipefail

main() {
  # shellcheck disable=SC2034 # files_mirror: upstream reads it
  local manifest_url manifest_sha256 files_mirror
  flags manifest-url manifest-sha256 files-mirror -- "$@"
  split_files "$SCRATCH/calico"
  step "downloading $manifest_url"
  download "$manifest_url" "$manifest_sha256" "$SCRATCH/calico/calico.yaml"
  step 'applying Calico'
  kubectl kustomize "$SCRATCH/calico" >"$SCRATCH/calico-patched.yaml"
  apply "$SCRATCH/calico-patched.yaml"
  # Applied after the definitions of its kinds are served.
  step 'denying the metadata service to pods'
  apply "$SCRATCH/calico/metadata-service.yaml"
  kubectl --namespace=kube-system get daemonset calico-node >/dev/null
  step 'Calico is installed'
}

main "$@"; exit
