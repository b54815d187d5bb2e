# shellcheck shell=bash
#
# Takes one node out of the cluster before its machine goes: its pods are moved
# and its Node object is deleted. Runs on the control plane, for at most two
# minutes of waiting. A node that is not in the cluster is no error. Needs --node.

set -euo pipefail

drain() { # ARG…
  kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --force "$@" >/dev/null 2>&1
}

main() {
  local node found
  flags node -- "$@"
  retry 10 api_ready ||
    die "the API does not answer, so $node cannot be drained; bring the control plane back and try again, or see docs/operations.md"
  found=$(kubectl get node "$node" --ignore-not-found --output=name)
  if [[ -z $found ]]; then
    step "$node is not in the cluster"
    return
  fi
  step "draining $node"
  drain --timeout=90s || {
    step 'some pods cannot be evicted; deleting them, whatever their disruption budgets say'
    drain --disable-eviction --timeout=30s || step "some pods of $node do not end; they go with the machine"
  }
  kubectl delete node "$node" --ignore-not-found --timeout=30s >/dev/null
  step "$node has left the cluster"
}

main "$@"; exit
