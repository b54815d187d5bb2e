# shellcheck shell=bash
#
# Keeps the default service accounts of namespaces from giving pods a token for the
# API. Kubernetes creates these accounts itself, at some time after their namespaces;
# this script creates or changes them, whichever comes first.
#
# Flags: --namespaces a,b,….

set -euo pipefail

main() {
  local namespaces namespace
  flags namespaces -- "$@"
  step "taking the API's token from the default service accounts"
  for namespace in ${namespaces//,/ }; do
    echo '---'
    echo "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: $namespace}, automountServiceAccountToken: false}"
  done >"$SCRATCH/accounts.yaml"
  apply "$SCRATCH/accounts.yaml"
}

main "$@"; exit
