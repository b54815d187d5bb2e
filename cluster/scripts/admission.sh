# shellcheck shell=bash
#
# Waits until the API server reaches the webhook that judges an object. A chart's
# pods are ready a moment before every node leads their Service to them; whatever
# the webhook has to judge in between is refused.
#
# Needs NAME, which is for people, and on standard input such an object, which is
# judged and not made.

set -euo pipefail

# shellcheck disable=SC2317 # retry calls it
admitted() {
  kubectl apply --server-side --force-conflicts --dry-run=server --field-manager=eco2 -f "$SCRATCH/object" >"$SCRATCH/judged" 2>&1
}

main() {
  local name=${1:?a name for the webhook}
  cat >"$SCRATCH/object"
  step "waiting until the API server reaches the webhook of $name"
  retry 120 admitted || {
    tail -n 5 "$SCRATCH/judged" >&2
    die "the webhook of $name does not admit what the program is about to make; the lines above say why"
  }
  step "the webhook of $name answers"
}

main "$@"; exit
