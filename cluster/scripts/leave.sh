# shellcheck shell=bash
#
# Removes one node from the cluster before its machine is deleted: drains it and
# deletes its Node object. Runs on the control plane and waits at most two minutes.
# It is not an error if the node is not in the cluster, nor if its machine has been
# replaced by now: then the successor's Node stays unchanged. A node that does not
# respond is not drained.
#
# Flags: --node, and --provider-id, the machine's. States that were written by an
# earlier version of the program do not contain --provider-id.

set -euo pipefail

drain() { # ARG…
  kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --force "$@" >/dev/null 2>&1
}

# is_successor PROVIDER-ID: whether the node's current machine is not the one that must leave.
is_successor() {
  if [[ -n $provider_id ]]; then
    [[ $1 != "$provider_id" ]]
  else
    # The version that wrote such a state did not record joins, so a machine whose join is recorded joined later.
    recorded "$node" && [[ $recorded_id == "$1" && $recorded_how == joined ]]
  fi
}

forget() { # PROVIDER-ID: deletes the node's record if it is of this machine
  if recorded "$node" && [[ $recorded_id == "$1" ]]; then
    rm -f "$NODES/$node" "$KNOWN_HOSTS/$node"
  fi
}

move_pods() {
  if [[ $ready == Unknown ]]; then
    step "$node does not respond; its pods are deleted with it"
    return
  fi
  step "draining $node"
  drain --timeout=90s || {
    step 'some pods cannot be evicted; deleting them, whatever their disruption budgets say'
    drain --disable-eviction --timeout=30s || step "some pods of $node do not terminate; they are deleted with the machine"
  }
}

main() {
  # shellcheck disable=SC2034 # recorded sets the last three
  local node provider_id='' found machine ready recorded_address recorded_id recorded_how
  flags node provider-id -- "$@"
  retry 10 api_ready ||
    die "the API does not answer, so $node cannot be drained; repair the control plane and try again, or see docs/operations.md"
  found=$(kubectl get node "$node" --ignore-not-found \
    --output=jsonpath='{.metadata.name}|{.spec.providerID}|{.status.conditions[?(@.type=="Ready")].status}')
  IFS='|' read -r found machine ready <<<"$found"
  if [[ -z $found ]]; then
    step "$node is not in the cluster"
    forget "$provider_id"
    return
  fi
  if is_successor "$machine"; then
    step "$node stays in the cluster: it is the machine $machine now, and ${provider_id:-an earlier one} was to leave"
    return
  fi
  move_pods
  kubectl delete node "$node" --ignore-not-found --timeout=30s >/dev/null
  forget "$machine"
  step "$node has left the cluster"
}

main "$@"; exit
