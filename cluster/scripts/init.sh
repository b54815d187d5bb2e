# shellcheck shell=bash
#
# Makes the control plane with kubeadm. A control plane that answers is never
# made again, only reconciled: labels, taints, and where CoreDNS may run. One
# that was made and does not answer is never wiped: its etcd is the cluster.
#
# Needs --node, --address, --provider-id, --labels a=b,… and --taints
# a=b:Effect,…, and on standard input the whole kubeadm configuration. The API
# server finds the key that encrypts secrets at rest in
# /etc/kubernetes/encryption.yaml, made here, once, and known to this machine
# alone.

set -euo pipefail

readonly CONFIG=/etc/kubernetes/kubeadm.yaml ENCRYPTION=/etc/kubernetes/encryption.yaml
# Among what `kubeadm reset` removes, so that it cannot outlive the cluster.
readonly DONE=/etc/kubernetes/pki/.initialized

make_control_plane() { # CONFIG
  clean_up_half_done
  # The records of a cluster that was on this machine before.
  rm -rf "$NODES"
  make_encryption_key
  put "$CONFIG" 0600 <<<"$1"
  quietly "validating the kubeadm configuration" kubeadm config validate --config "$CONFIG"
  step 'pulling the images of the control plane'
  quietly 'pulling the images of the control plane' timeout 600 kubeadm config images pull --config "$CONFIG"
  step 'running kubeadm init'
  # Both would show a token, and the end of this output is shown if the init fails.
  quietly 'kubeadm init' timeout 600 kubeadm init --config "$CONFIG" --skip-phases=show-join-command --skip-token-print
}

clean_up_half_done() {
  local leftover
  for leftover in /etc/kubernetes/admin.conf /etc/kubernetes/manifests/*.yaml /var/lib/etcd/member; do
    [[ -e $leftover ]] || continue
    step 'cleaning up after an init that did not finish'
    quietly 'kubeadm reset' timeout 300 kubeadm reset --force
    rm -rf /etc/cni/net.d/* /var/lib/etcd
    return
  done
}

# Whoever replaces this key loses every secret written with it.
make_encryption_key() {
  [[ ! -e $ENCRYPTION ]] || return 0
  step 'making the key that encrypts secrets at rest'
  put "$ENCRYPTION" 0600 <<YAML
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: $(head --bytes=32 /dev/urandom | base64)
  - identity: {}
YAML
}

# kubeadm's add-ons are its last step, and stand for DONE where somebody else ran it.
made_before() {
  [[ -e $DONE ]] ||
    kubectl --namespace=kube-system get deployment/coredns daemonset/kube-proxy >/dev/null 2>&1
}

await_control_plane() { # CONFIG
  retry 180 api_ready ||
    die "the control plane on $node was made before and its API does not answer; see 'crictl ps -a' and 'journalctl -u kubelet' there (only 'kubeadm reset' would make a new, empty cluster)"
  cmp --silent "$CONFIG" - <<<"$1" ||
    step "note: the kubeadm configuration has changed since the control plane was made; that takes effect by hand, see docs/operations.md"
}

# kubeadm makes a token for joining by hand; join.sh makes its own.
drop_initial_token() {
  kubectl --namespace=kube-system delete secrets --field-selector=type=bootstrap.kubernetes.io/token >/dev/null
}

# CoreDNS has to run before there is an untainted node, or where there is none.
let_coredns_run_here() {
  step 'letting CoreDNS run on the control plane'
  kubectl --namespace=kube-system patch deployment coredns --patch-file=/dev/stdin >/dev/null <<YAML
spec:
  template:
    spec:
      tolerations:
      - {key: CriticalAddonsOnly, operator: Exists}
      - {key: node-role.kubernetes.io/control-plane, effect: NoSchedule}
      - {key: role, value: control-plane, effect: NoSchedule}
YAML
}

# Has a timer run approve.sh, which install.sh has put on this machine. The timer is restarted each time: an earlier
# run may have ended between writing it and starting it.
approve_certificates() {
  step "having the kubelets' serving certificates approved"
  # Nothing is logged of the runs that find nothing to do.
  put /etc/systemd/system/eco2-approve.service 0644 <<UNIT
[Unit]
Description=approval of the kubelets' serving certificates

[Service]
Type=oneshot
ExecStart=/usr/bin/bash /usr/local/lib/eco2/approve.sh
TimeoutStartSec=120
SyslogLevel=notice
LogLevelMax=notice
UNIT
  put /etc/systemd/system/eco2-approve.timer 0644 <<UNIT
[Unit]
Description=approval of the kubelets' serving certificates, every 15 seconds

[Timer]
OnActiveSec=1
OnUnitInactiveSec=15
AccuracySec=1

[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet eco2-approve.timer
  systemctl restart eco2-approve.timer
}

main() {
  local node address provider_id labels taints config
  flags node address provider-id labels taints -- "$@"
  alone init
  config=$(cat)
  [[ -n $config ]] || die 'no kubeadm configuration on standard input'
  if made_before; then
    step 'the control plane was made before'
    await_control_plane "$config"
  else
    make_control_plane "$config"
    step 'waiting for the API server'
    retry 180 api_ready || die "the API server on $node does not become ready; see 'crictl ps -a' there"
    drop_initial_token
  fi
  touch "$DONE"
  record "$node" "$address" "$provider_id" joined
  approve_certificates
  let_coredns_run_here
  reconcile "$node" "$labels" "$taints"
  step "the control plane $node is up"
}

main "$@"; exit
