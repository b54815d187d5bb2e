# shellcheck shell=bash
#
# Waits until External Secrets has copied a version of an SSM parameter to a Secret.
# Containers read a Secret only when they start, so one that started earlier would
# keep the previous value.
#
# Flags: --namespace, --name (of both the ExternalSecret and its Secret) and
# --version, which the ExternalSecret writes to an annotation of the Secret.

set -euo pipefail

# shellcheck disable=SC2317 # retry calls it
synced() { # NAMESPACE NAME VERSION
  local version
  version=$(KUBECTL_LIMIT=10 kubectl --namespace="$1" get secret "$2" --ignore-not-found \
    --output=jsonpath='{.metadata.annotations.eco2\.io/parameter-version}')
  [[ $version == "$3" ]]
}

main() {
  local namespace name version
  flags namespace name version -- "$@"
  step "waiting until secret $namespace/$name has version $version of its parameter"
  retry 180 synced "$namespace" "$name" "$version" || {
    kubectl --namespace="$namespace" describe externalsecret "$name" >&2
    die "secret $namespace/$name does not get version $version of its parameter; the ExternalSecret's conditions and events above say why"
  }
  step "secret $namespace/$name is up to date"
}

main "$@"; exit
