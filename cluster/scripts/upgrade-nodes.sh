# shellcheck shell=bash
# shellcheck disable=SC2317 # retry and the node call functions too
#
# Brings the nodes to the versions of Kubernetes and containerd that the program wants,
# one node after the other, after init.sh has upgraded the control plane. A worker is
# drained, gets the packages and the configuration of its kubelet from the cluster, and
# takes pods again when it is ready. The updates of a machine's other packages roll in
# the same way; a worker that they require to restart does so while it is drained. A node
# whose kubelet only has another configuration is not drained, nor is the control
# plane's: the replicas of CoreDNS may have no other place, and run on while its kubelet
# and containerd restart. The first node that fails ends the run; the next run goes on
# from it. Nodes that are up to date cost one call of the API.
#
# Flags: --nodes a,b,c (all nodes, the control plane's first), --parallel, how many nodes
# may be upgraded at the same time, --user, --kubelets, a hash of the kubelets'
# configuration, by which the command runs again, and --packages, a date or nothing: a
# node whose other packages were updated for an earlier date, or never, gets their
# updates; then -- and the arguments with which prepare.sh ran on the nodes, without
# --node. Standard input: the private SSH key for the workers, which is kept only in the
# memory of an agent.

set -euo pipefail

# The annotation of a node that this script has cordoned. A node that somebody else has cordoned stays cordoned.
readonly CORDONED=eco2.io/cordoned-for-upgrade
# The annotation of a node whose kubelet has an older configuration than the cluster: see upgrade-control-plane.sh.
readonly CONFIGURATION=eco2.io/kubelet-configuration
# The annotation of a node with the date for which its other packages were updated.
readonly UPDATED=eco2.io/packages
# What Ubuntu and Debian write if an update needs the machine to restart. A restart removes it.
readonly REBOOT=/run/reboot-required
# Time limits in seconds: for the pods of a node to be evicted, and for an upgraded node to be ready.
readonly DRAIN_LIMIT=300 READY_LIMIT=300

# node_states: prints the nodes, one per line: name, versions of kubelet and runtime, and the three annotations.
node_states() {
  kubectl get nodes --output=jsonpath="{range .items[*]}{.metadata.name}|{.status.nodeInfo.kubeletVersion}|{.status.nodeInfo.containerRuntimeVersion}|{.metadata.annotations.$(path "$CONFIGURATION")}|{.metadata.annotations.$(path "$CORDONED")}|{.metadata.annotations.$(path "$UPDATED")}{\"\n\"}{end}"
}

path() { echo "${1//./\\.}"; } # ANNOTATION: prints it as an element of a JSONPath

# work_for NODE: prints what is to be done: `machine`, that is all packages; `versions`, those of Kubernetes and
# containerd; `configuration`; `uncordon` after an interrupted run; or nothing.
work_for() {
  local name kubelet runtime configuration cordoned updated
  while IFS='|' read -r name kubelet runtime configuration cordoned updated; do
    [[ $name == "$1" ]] || continue
    if [[ $updated < $packages ]]; then
      echo machine
    elif [[ $kubelet != "v$kubernetes_version" || $runtime != "containerd://$containerd_version" ]]; then
      echo versions
    elif [[ $configuration == outdated ]]; then
      echo configuration
    elif [[ $cordoned == yes ]]; then
      echo uncordon
    fi
    return
  done <"$SCRATCH/nodes"
}

condition() { # NODE TYPE
  kubectl get node "$1" --output="jsonpath={.status.conditions[?(@.type==\"$2\")].status}"
}

cordon() {
  [[ $(kubectl get node "$node" --output=jsonpath='{.spec.unschedulable}') != true ]] || return 0
  # Annotated first, so that a run that ends here is not mistaken for somebody who has cordoned the node.
  kubectl annotate --overwrite node "$node" "$CORDONED=yes" >/dev/null
  kubectl cordon "$node" >/dev/null
}

uncordon() {
  [[ $(kubectl get node "$node" --output="jsonpath={.metadata.annotations.$(path "$CORDONED")}") == yes ]] || return 0
  kubectl uncordon "$node" >/dev/null
  kubectl annotate node "$node" "$CORDONED-" >/dev/null
}

# drain: moves the node's pods away. Unlike leave.sh it respects disruption budgets and does not delete pods that nothing
# would create again, because this node stays.
drain() {
  cordon
  kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout="${DRAIN_LIMIT}s" >"$SCRATCH/drain" 2>&1 && return
  uncordon
  grep --invert-match --extended-regexp '^(evicting|pod/|Warning: ignoring)' "$SCRATCH/drain" | sort --unique | tail -n 10 >&2
  die "$node could not be drained within ${DRAIN_LIMIT} s, takes pods again, and keeps its versions; the lines above name the pods that stay: add replicas, change their disruption budget or delete them, and run the update again"
}

# on_node [ARG…]: runs the script on standard input on the node, which may be this machine.
on_node() {
  if [[ $node == "$control_plane" ]]; then
    # At its end, prepare.sh would stop the agent of this script.
    env --unset=SSH_AGENT_PID bash -s -- "$@"
  else
    remote "$@"
  fi
}

# This function runs on the node. On the control plane, `kubeadm upgrade apply` has done before what `kubeadm upgrade node`
# does.
restart_kubelet() {
  set -euo pipefail
  if [[ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ]]; then
    local log=/var/log/eco2-upgrade.log
    timeout 300 kubeadm upgrade node >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; exit 1; }
  fi
  systemctl daemon-reload
  systemctl restart kubelet
}

# reboot_if_needed: restarts a worker's machine if its updates need that. The control plane's runs this script.
reboot_if_needed() {
  local needed
  needed=$(on_node <<<"[[ ! -e $REBOOT ]] || echo yes") ||
    die "$node does not answer over SSH after its updates, and takes no pods until it does; run the update again"
  [[ -n $needed ]] || return 0
  if [[ $node == "$control_plane" ]]; then
    step "$node: its updates need a restart; a new machine has them: pulumi up --replace '**Instance::$node'"
    return
  fi
  step "$node: restarting the machine, as its updates need that"
  # In a moment, so that this connection ends in order.
  on_node <<<'systemd-run --quiet --on-active=2 systemctl reboot' || die "$node does not restart; see 'journalctl' there"
  retry "$READY_LIMIT" has_rebooted ||
    die "$node has not come back ${READY_LIMIT} s after its restart, and takes no pods until it does; see its console, or replace its machine: pulumi up --replace '**Instance::$node'"
}

has_rebooted() { on_node <<<"[[ ! -e $REBOOT ]]" 2>/dev/null; }

# is_back: whether the node has the wanted versions, is ready, has a ready calico-node, and its kubelet answers.
is_back() {
  local state
  state=$(kubectl get node "$node" --output='jsonpath={.status.nodeInfo.kubeletVersion} {.status.nodeInfo.containerRuntimeVersion} {.status.conditions[?(@.type=="Ready")].status}') &&
    [[ $state == "v$kubernetes_version containerd://$containerd_version True" ]] &&
    [[ $(kubectl --namespace=kube-system get pods --selector=k8s-app=calico-node --field-selector="spec.nodeName=$node" \
      --output=jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}') == True ]] &&
    KUBECTL_LIMIT=10 kubectl get --raw="/api/v1/nodes/$node/proxy/healthz" >/dev/null 2>&1
}

# upgrade_node NODE WORK PREPARE-ARG…
upgrade_node() {
  # shellcheck disable=SC2034 # remote reads the last three
  local node=$1 work=$2 host_key address provider_id
  local -A upgrade=([versions]=all [machine]=machine) also=([versions]='' [machine]=', and all updates')
  # shellcheck disable=SC2034 # recorded sets them
  local recorded_address recorded_id recorded_how
  shift 2
  # Each node's temporary files are its own, as several may be upgraded at the same time.
  SCRATCH=$SCRATCH/$node
  mkdir "$SCRATCH"
  recorded "$node" || die "this machine has no record of $node; write it with: pulumi up --target '**::member-$node'"
  # shellcheck disable=SC2034
  address=$recorded_address provider_id=$recorded_id
  if [[ $node != "$control_plane" ]]; then
    # The one that join.sh has required or stored. Without it, remote would accept any.
    host_key=$(sed --quiet "s/^${provider_id##*/} //p" "$KNOWN_HOSTS/$node" 2>/dev/null) || true
    [[ -n $host_key ]] ||
      die "this machine does not know the SSH host key of $node; run the update again with --target '**::member-$node'"
  fi
  if [[ $work == versions || $work == machine ]]; then
    [[ $(condition "$node" Ready) == True ]] ||
      die "$node is not ready, and is not upgraded before it is; see 'kubectl describe node $node', or replace its machine: pulumi up --replace '**Instance::$node'"
    if [[ $node != "$control_plane" ]]; then
      step "$node: draining"
      drain
    fi
    step "$node: installing Kubernetes $kubernetes_version and containerd $containerd_version${also[$work]}"
    on_node --node "$node" "$@" --upgrade "${upgrade[$work]}" <"$SCRIPTS/prepare.sh" 2>"$SCRATCH/prepare" ||
      { cat "$SCRATCH/prepare" >&2; die "$node could not be upgraded, and takes no pods until it is; the lines above say why. Run the update again when that is mended"; }
  fi
  if [[ $work != uncordon ]]; then
    step "$node: restarting the kubelet"
    { declare -f restart_kubelet; echo restart_kubelet; } | on_node ||
      die "$node could not be upgraded, and takes no pods until it is; the lines above, from kubeadm, say why. Run the update again when that is mended"
  fi
  [[ $work != machine ]] || reboot_if_needed
  retry "$READY_LIMIT" is_back ||
    die "$node is not ready ${READY_LIMIT} s after its upgrade, and takes no pods until it is; see 'journalctl -u kubelet' there, or replace its machine: pulumi up --replace '**Instance::$node'"
  kubectl annotate node "$node" "$CONFIGURATION-" >/dev/null
  [[ $work != machine ]] || kubectl annotate --overwrite node "$node" "$UPDATED=$packages" >/dev/null
  uncordon
  step "$node: has Kubernetes $kubernetes_version and containerd $containerd_version"
}

main() {
  # shellcheck disable=SC2034 # remote reads user; kubelets only makes the command run again
  local nodes parallel user kubelets packages
  local kubernetes_version containerd_version control_plane own=() passed_on=() node todo=() started=0 failed=$SCRATCH/failed
  split_arguments prepare.sh "$@"
  set -- "${passed_on[@]}"
  flags nodes parallel user kubelets packages -- "${own[@]}"
  acquire_lock upgrade
  kubernetes_version=$(value_of --kubernetes-version "$@")
  containerd_version=$(value_of --containerd-version "$@")
  control_plane=${nodes%%,*}
  node_states >"$SCRATCH/nodes"
  for node in ${nodes//,/ }; do
    todo+=("$node $(work_for "$node")")
    [[ ${todo[-1]} != *' ' ]] || unset 'todo[-1]'
  done
  if ((${#todo[@]} == 0)); then
    step "all nodes have Kubernetes $kubernetes_version and containerd $containerd_version"
    return
  fi
  step "upgrading ${#todo[@]} nodes, $parallel at a time: $(enumerate < <(printf '%s\n' "${todo[@]% *}"))"
  # As long as the update waits for this script: see cluster.go.
  start_agent "$((600 * (${#todo[@]} + 1)))"
  for node in "${todo[@]}"; do
    while (($(jobs -rp | wc -l) >= parallel)); do
      wait -n || true
    done
    [[ ! -e $failed ]] || break
    started=$((started + 1))
    step "$started of ${#todo[@]}: ${node% *}"
    (
      trap '(($? == 0)) || touch "$failed"' EXIT
      upgrade_node "${node% *}" "${node#* }" "$@"
    ) &
  done
  wait
  [[ ! -e $failed ]] ||
    die "a node could not be upgraded, see above; the others that were begun are finished, and $((${#todo[@]} - started)) of ${#todo[@]} were not begun. The next update goes on from here"
}

# value_of NAME ARG…: prints the value of an argument of prepare.sh.
value_of() {
  local name=$1
  shift
  while (($# > 1)); do
    [[ $1 != "$name" ]] || { echo "$2"; return; }
    shift 2
  done
  die "the arguments of prepare.sh have no $name"
}

main "$@"; exit
