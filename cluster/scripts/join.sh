# shellcheck shell=bash
# shellcheck disable=SC2317 # trap, retry and the worker call functions too
#
# Joins one worker to the cluster. It runs on the control plane, which creates the
# token at the moment when it is used: a retry always has a new one, and none is
# stored anywhere. The control plane reaches the worker over SSH. This gives it no
# additional power, since it already decides what runs on every worker.
#
# Flags: --node, --address (the worker's), --host-key (its public SSH host key, empty
# if it is unknown), --user, --endpoint (host:port of the API server), --provider-id,
# --labels a=b,… and --taints a=b:Effect,…. Standard input: the private SSH key for
# the login, which is kept only in the memory of an agent. If the worker is already in
# the cluster, only its labels and taints are reconciled.

set -euo pipefail

token=''
readonly TOKENS=/api/v1/namespaces/kube-system/secrets

forget_token() {
  [[ -z $token ]] || KUBECTL_LIMIT=30 kubectl delete --raw="$TOKENS/bootstrap-token-${token%%.*}" >/dev/null 2>&1 || true
}
trap 'forget_token; cleanup' EXIT

# probe: checks that the worker can be reached, and stores whether it has joined a cluster as far as it knows itself.
probe() {
  remote <<<'[[ -e /etc/kubernetes/kubelet.conf ]] && echo joined || echo new' >"$SCRATCH/state" 2>"$SCRATCH/ssh"
}

join_configuration() { # CA-HASH
  cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    token: "$token"
    apiServerEndpoint: "$endpoint"
    caCertHashes: ["$1"]
nodeRegistration:
  name: "$node"
  criSocket: unix:///run/containerd/containerd.sock
  taints: [$(flow_taints)]
  kubeletExtraArgs:
  - {name: provider-id, value: "$provider_id"}
YAML
  [[ -z $labels ]] || echo "  - {name: node-labels, value: \"$labels\"}"
}

flow_taints() {
  local taint key
  for taint in ${taints//,/ }; do
    key=${taint%:*}
    printf '{key: "%s", value: "%s", effect: "%s"}, ' "${key%%=*}" "${key#*=}" "${taint##*:}"
  done
}

# This function runs on the worker, with the kubeadm configuration on its standard input.
join_here() {
  set -euo pipefail
  config=$(mktemp /run/eco2-join.XXXXXX)
  trap 'rm -f "$config"' EXIT
  cat >"$config"
  local log=/var/log/eco2-join.log leftover
  for leftover in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf /etc/kubernetes/pki/ca.crt; do
    [[ -e $leftover ]] || continue
    echo 'cleaning up after an earlier join' >&2
    timeout 300 kubeadm reset --force >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; exit 1; }
    break
  done
  if ! timeout 420 kubeadm join --config "$config" >"$log" 2>&1 </dev/null; then
    { tail -n 20 "$log"; journalctl --unit=kubelet --lines=20 --no-pager; } >&2
    timeout 300 kubeadm reset --force >/dev/null 2>&1 </dev/null || true
    exit 1
  fi
}

# random LENGTH: prints random letters and digits.
random() { head --bytes=1000 /dev/urandom | tr --delete --complement 'a-z0-9' | cut --characters="1-$1"; }

token_secret() {
  cat <<JSON
{
  "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
  "metadata": {"name": "bootstrap-token-${token%%.*}"},
  "stringData": {
    "description": "joins $node", "token-id": "${token%%.*}", "token-secret": "${token#*.}",
    "expiration": "$(date --utc --date='15 minutes' +%Y-%m-%dT%H:%M:%SZ)",
    "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
    "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"
  }
}
JSON
}

# make_token: sets token to a new one that is valid for 15 minutes. It creates the same Secret as `kubeadm token
# create`, but without starting kubeadm, because thirteen joins do this at the same time on the machine that they all
# wait for.
make_token() {
  token=$(random 6).$(random 16)
  token_secret | kubectl create --raw="$TOKENS" --filename=- >/dev/null ||
    die "the API server did not create a token for $node; the line above says why"
}

# ca_hash: prints the hash by which kubeadm on a worker verifies the cluster's certificate authority.
ca_hash() {
  openssl x509 -in /etc/kubernetes/pki/ca.crt -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
}

join() {
  local hash
  hash=$(ca_hash)
  make_token
  { declare -f join_here; echo 'join_here; exit'; join_configuration "sha256:${hash%% *}"; } | remote ||
    die "$node could not join and was reset; the lines above, from kubeadm and its kubelet, say why"
}

# node_in_cluster: prints the node's name and provider ID, or nothing if there is no such node.
node_in_cluster() {
  kubectl get node "$node" --ignore-not-found --output=jsonpath='{.metadata.name} {.spec.providerID}'
}

# registered: waits for the Node and checks that it belongs to this machine. It uses a watch instead of polling, because
# thirteen joins do this at the same time.
registered() {
  KUBECTL_LIMIT=130 kubectl wait --for=create "node/$node" --timeout=120s >/dev/null 2>&1 &&
    [[ $(node_in_cluster) == "$node $provider_id" ]]
}

main() {
  # shellcheck disable=SC2034 # remote reads host_key
  local node address host_key user endpoint provider_id labels taints found state=new
  # shellcheck disable=SC2034 # recorded sets them
  local recorded_address recorded_id recorded_how
  flags node address host-key user endpoint provider-id labels taints -- "$@"
  acquire_lock "join-$node"
  start_agent
  found=$(node_in_cluster)

  step "reaching $node at $address"
  retry 120 probe || no_login
  if [[ $found == "$node $provider_id" ]]; then
    state=$(<"$SCRATCH/state")
  fi
  if [[ $state == joined ]]; then
    step "$node is in the cluster already"
    recorded "$node" || recorded_how=found
    record "$node" "$address" "$provider_id" "$recorded_how"
    reconcile "$node" "$labels" "$taints"
  else
    # A Node with this name belongs to a machine that this one replaces, or to a join that did not finish.
    [[ -z $found ]] || kubectl delete node "$node" --ignore-not-found >/dev/null
    step "joining $node"
    # Recorded before the join, because the new kubelet requests its certificate immediately.
    record "$node" "$address" "$provider_id" joined
    join
    registered || die "$node has joined but no Node appeared; see 'journalctl -u kubelet' there"
    # The node registered with its labels and taints. Setting each again would only put load on the control plane,
    # thirteen times at once.
    remember "$node" "$labels" "$taints"
  fi
  step "$node is in the cluster"
}

main "$@"; exit
