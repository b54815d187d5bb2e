# shellcheck shell=bash
#
# Waits until all nodes are usable: each is Ready, has a ready calico-node, and its
# kubelet answers the API server, for which it needs its serving certificate; and
# CoreDNS and Calico's controllers are rolled out. Every ten seconds it logs what it
# is waiting for; on timeout it prints diagnostics.
#
# Flags: --nodes a,b,c (all nodes of the cluster) and --timeout SECONDS.

set -euo pipefail

# node_states: prints the nodes, one per line: name and whether it is Ready.
node_states() {
  kubectl get nodes --output=jsonpath='{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

# calico_states: prints the pods of calico-node, one per line: node and whether the pod is ready.
calico_states() {
  kubectl --namespace=kube-system get pods --selector=k8s-app=calico-node \
    --output=jsonpath='{range .items[*]}{.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

# kubelet_answers NODE: whether the API server reaches the node's kubelet. Once it has answered it is not asked again.
kubelet_answers() {
  [[ -e $SCRATCH/answered-$1 ]] && return
  KUBECTL_LIMIT=10 kubectl get --raw="/api/v1/nodes/$1/proxy/healthz" >/dev/null 2>&1 || return
  touch "$SCRATCH/answered-$1"
}

# calico_is_current COUNT: whether COUNT pods of calico-node have the newest template.
calico_is_current() {
  local updated generation observed
  read -r updated generation observed < <(kubectl --namespace=kube-system get daemonset calico-node \
    --output=jsonpath='{.status.updatedNumberScheduled} {.metadata.generation} {.status.observedGeneration}{"\n"}')
  ((updated >= $1 && generation == observed))
}

rolled_out() { # DEPLOYMENT
  [[ $(kubectl --namespace=kube-system rollout status "deployment/$1" --watch=false) == *'successfully rolled out'* ]]
}

# missing: prints what the cluster still waits for, one item per line, or nothing. If the
# API server does not respond, everything is missing.
missing() {
  local states calico node count=0 deployment
  states=$(node_states) || true
  calico=$(calico_states) || true
  for node in ${nodes//,/ }; do
    count=$((count + 1))
    if ! grep --quiet --fixed-strings --line-regexp "$node True" <<<"$states"; then
      echo "$node"
    elif ! grep --quiet --fixed-strings --line-regexp "$node True" <<<"$calico"; then
      echo "calico-node on $node"
    elif ! kubelet_answers "$node"; then
      echo "the serving certificate of $node"
    fi
  done
  calico_is_current "$count" || echo 'the roll-out of calico-node'
  for deployment in calico-kube-controllers coredns; do
    rolled_out "$deployment" || echo "$deployment"
  done
}

name_others() {
  local name
  while read -r name _; do
    [[ ,$nodes, == *",$name,"* ]] || step "note: $name is in the cluster and not in the table of nodes"
  done < <(node_states)
}

explain() {
  local name state
  {
    while read -r name state; do
      [[ $state == True ]] || kubectl get node "$name" \
        --output=jsonpath='{range .status.conditions[*]}{"'"$name"': "}{.type}={.status} {.reason}: {.message}{"\n"}{end}'
    done < <(node_states)
    echo 'pods of kube-system that are not ready:'
    kubectl --namespace=kube-system get pods --output=wide --no-headers |
      awk '{ split($2, ready, "/"); if (ready[1] != ready[2]) print }'
    echo "requests for kubelets' certificates that are not approved:"
    kubectl get certificatesigningrequests --no-headers | grep --word-regexp Pending
    journalctl --unit=eco2-approve --lines=15 --no-pager --output=cat
    echo 'latest warnings:'
    kubectl --namespace=kube-system get events --field-selector=type=Warning --sort-by=.lastTimestamp | tail -n 15
  } >&2 || true
}

main() {
  local nodes timeout waiting_for logged=-10
  flags nodes timeout -- "$@"
  while true; do
    waiting_for=$(missing | enumerate)
    [[ -n $waiting_for ]] || break
    if ((SECONDS >= timeout)); then
      explain
      die "after ${timeout}s the cluster still waits for $waiting_for; the lines above say why"
    fi
    if ((SECONDS >= logged + 10)); then
      step "waiting for $waiting_for"
      # Approve requests now instead of waiting for the timer.
      [[ $waiting_for != *'serving certificate'* ]] || systemctl start eco2-approve.service || true
      logged=$SECONDS
    fi
    sleep 2
  done
  name_others
  step 'all nodes are ready'
}

main "$@"; exit
