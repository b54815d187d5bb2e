# shellcheck shell=bash
#
# Waits until all nodes can run pods and be asked about them: each is Ready, has a
# ready calico-node, and its kubelet answers the API server, for which it needs its
# serving certificate; and CoreDNS and Calico's controllers are rolled out. What it
# waits for is named every ten seconds, and explained if it does not come.
#
# Needs --nodes a,b,c (all the nodes there should be) and --timeout SECONDS.

set -euo pipefail

# Nodes, a line each: name and whether it is Ready.
node_states() {
  kubectl get nodes --output=jsonpath='{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

# Pods of calico-node, a line each: node and whether the pod is ready.
calico_states() {
  kubectl --namespace=kube-system get pods --selector=k8s-app=calico-node \
    --output=jsonpath='{range .items[*]}{.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

# Whether the API server reaches the kubelet of NODE. One that has answered is not asked again.
kubelet_answers() { # NODE
  [[ -e $SCRATCH/answered-$1 ]] && return
  KUBECTL_LIMIT=10 kubectl get --raw="/api/v1/nodes/$1/proxy/healthz" >/dev/null 2>&1 || return
  touch "$SCRATCH/answered-$1"
}

# Whether as many calico-nodes as there are NODES are of the newest template.
calico_is_current() { # NODES
  local updated generation observed
  read -r updated generation observed < <(kubectl --namespace=kube-system get daemonset calico-node \
    --output=jsonpath='{.status.updatedNumberScheduled} {.metadata.generation} {.status.observedGeneration}{"\n"}')
  ((updated >= $1 && generation == observed))
}

rolled_out() { # DEPLOYMENT
  [[ $(kubectl --namespace=kube-system rollout status "deployment/$1" --watch=false) == *'successfully rolled out'* ]]
}

# Prints what is missing, a line each; nothing if all is there. An API server
# that does not answer just now counts as everything missing.
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
  local nodes timeout waiting_for told=-10
  flags nodes timeout -- "$@"
  while true; do
    waiting_for=$(missing | enumerate)
    [[ -n $waiting_for ]] || break
    if ((SECONDS >= timeout)); then
      explain
      die "after ${timeout}s the cluster still waits for $waiting_for; the lines above say why"
    fi
    if ((SECONDS >= told + 10)); then
      step "waiting for $waiting_for"
      # At once, instead of when the timer is due.
      [[ $waiting_for != *'serving certificate'* ]] || systemctl start eco2-approve.service || true
      told=$SECONDS
    fi
    sleep 2
  done
  name_others
  step 'all nodes are ready'
}

main "$@"; exit
