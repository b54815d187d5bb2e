# shellcheck shell=bash
#
# Takes one node out of the cluster before its machine goes: its pods are moved
# and its Node object is deleted. Runs on the control plane, for at most two
# minutes of waiting. A node that is not in the cluster is no error, nor is one
# whose machine is another by now: its successor's Node stays as it is. Of a
# machine that does not answer no pod is moved.
#
# Needs --node, and --provider-id, the machine's. States that an older program
# wrote name no machine.

set -euo pipefail

drain() { # ARG…
  kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --force "$@" >/dev/null 2>&1
}

# is_successor PROVIDER-ID: whether the node's machine of today is another than the one that leaves.
is_successor() {
  if [[ -n $provider_id ]]; then
    [[ $1 != "$provider_id" ]]
  else
    # The program that wrote such a state recorded no joins, so a machine whose join is recorded came later.
    recorded "$node" && [[ $recorded_id == "$1" && $recorded_how == joined ]]
  fi
}

forget() { # PROVIDER-ID
  if recorded "$node" && [[ $recorded_id == "$1" ]]; then
    rm -f "$NODES/$node" "$KNOWN_HOSTS/$node"
  fi
}

move_pods() {
  if [[ $ready == Unknown ]]; then
    step "$node does not answer; its pods go with it"
    return
  fi
  step "draining $node"
  drain --timeout=90s || {
    step 'some pods cannot be evicted; deleting them, whatever their disruption budgets say'
    drain --disable-eviction --timeout=30s || step "some pods of $node do not end; they go with the machine"
  }
}

main() {
  # shellcheck disable=SC2034 # recorded sets the last three
  local node provider_id='' found machine ready recorded_address recorded_id recorded_how
  flags node provider-id -- "$@"
  retry 10 api_ready ||
    die "the API does not answer, so $node cannot be drained; bring the control plane back and try again, or see docs/operations.md"
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
