# shellcheck shell=bash
#
# Waits until the API server can reach an admission webhook. A chart's pods are ready
# shortly before every node routes their Service to them; in between the API server
# rejects every object that the webhook must validate.
#
# Arguments: NAME, used in messages. Standard input: an object that the webhook
# validates. It is applied as a dry run, so it is not created.

set -euo pipefail

# shellcheck disable=SC2317 # retry calls it
accepted() {
  kubectl apply --server-side --force-conflicts --dry-run=server --field-manager=eco2 -f "$SCRATCH/object" >"$SCRATCH/response" 2>&1
}

main() {
  local name=${1:?a name for the webhook}
  cat >"$SCRATCH/object"
  step "waiting until the API server reaches the webhook of $name"
  retry 120 accepted || {
    tail -n 5 "$SCRATCH/response" >&2
    die "the webhook of $name cannot be reached or rejects the object that the program is about to create; the lines above say why"
  }
  step "the webhook of $name answers"
}

main "$@"; exit
