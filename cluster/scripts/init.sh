# shellcheck shell=bash
#
# Creates the control plane with kubeadm, whose state state.sh has put on a volume. A
# control plane that responds is never created again: another version or configuration
# is applied to it by upgrade-control-plane.sh. One that was created and does not respond is never
# reset, because its etcd is the cluster. A new machine with the volume of an old one
# brings up the same control plane: workers, objects and credentials stay valid.
#
# Flags: --node, --address, --provider-id, --labels a=b,… and --taints a=b:Effect,…,
# then -- and the arguments with which prepare.sh ran on this machine.
# Standard input, as split_files reads it: kubeadm.yaml, the complete configuration of
# kubeadm; the API server's files, which its arguments name; and nodes.yaml, an
# admission policy. The key that encrypts secrets at rest is created once, and exists
# only on the volume and in /etc/kubernetes/encryption.yaml.

set -euo pipefail

# The marker of a completed init. It is in a directory that `kubeadm reset` removes, so it cannot outlive the cluster.
# It is on the volume, like all in that directory.
readonly DONE=/etc/kubernetes/pki/.initialized

make_control_plane() { # DIR
  clean_up_half_done
  put "$STATE/made-on" 0600 <<<"$provider_id"
  # These may be the records of an earlier cluster on this machine.
  rm -f "${NODES:?}"/*
  make_encryption_key
  put "$CONFIG" 0600 <"$1/kubeadm.yaml"
  quietly "validating the kubeadm configuration" kubeadm config validate --config "$CONFIG"
  step 'pulling the images of the control plane'
  quietly 'pulling the images of the control plane' timeout 600 kubeadm config images pull --config "$CONFIG"
  step 'running kubeadm init'
  # Without these flags the output would contain a token, and it is shown if the init fails.
  quietly 'kubeadm init' timeout 600 kubeadm init --config "$CONFIG" --skip-phases=show-join-command --skip-token-print
}

clean_up_half_done() {
  local leftover machine=unknown
  if [[ -e /var/lib/etcd/member || -e /etc/kubernetes/pki/ca.key ]]; then
    [[ ! -e $STATE/made-on ]] || machine=$(<"$STATE/made-on")
    [[ $machine == "$provider_id" ]] ||
      die "the volume has half a control plane, whose creation the machine $machine began and did not finish; nothing on it was changed. To begin again with an empty volume, replace the volume and this machine: see docs/operations.md, 'The control plane'"
  fi
  for leftover in /etc/kubernetes/admin.conf /etc/kubernetes/manifests/*.yaml /var/lib/etcd/member; do
    [[ -e $leftover ]] || continue
    step 'cleaning up after an init that did not finish'
    quietly 'kubeadm reset' timeout 300 kubeadm reset --force
    rm -rf /etc/cni/net.d/* /var/lib/etcd/*
    return
  done
}

# adopt_control_plane DIR: brings up the control plane on the volume, which another machine has left, on this one.
adopt_control_plane() {
  local known=unknown
  [[ ! -e $STATE/address ]] || known=$(<"$STATE/address")
  [[ $known == "$address" ]] ||
    die "the control plane on the volume has the address $known, by which its workers and etcd know it, and this machine has $address; nothing was changed. The program gives a new machine the address that the output \"made\" of the stack has as controlPlane"
  [[ ! -e $STATE/version ]] || check_skew "$(<"$STATE/version")" "$(version_in "$1/kubeadm.yaml")"
  make_encryption_key
  put "$CONFIG" 0600 <"$1/kubeadm.yaml"
  quietly "validating the kubeadm configuration" kubeadm config validate --config "$CONFIG"
  step 'pulling the images of the control plane'
  quietly 'pulling the images of the control plane' timeout 600 kubeadm config images pull --config "$CONFIG"
  raise_revision
  step 'bringing up the control plane that is on the volume'
  # kubeadm uses the certificate authorities and the data that exist. The skipped phases would create again what is in
  # etcd already, except for mark-control-plane: see register_again.
  quietly 'kubeadm init' timeout 600 kubeadm init --config "$CONFIG" --skip-token-print \
    --ignore-preflight-errors=DirAvailable--var-lib-etcd \
    --skip-phases=mark-control-plane,bootstrap-token,addon,show-join-command
  retry 180 api_ready || die "the API server on $node does not become ready; see 'crictl ps -a' there"
  register_again
}

# raise_revision: makes etcd, whose data is that of a snapshot, continue at a revision that it has not had. Kubelets and
# controllers know objects by the revision that they have seen; without this, they would not notice that it is not the
# same object any more. Everything before that revision counts as compacted, so they read all objects again. What etcd's
# log contains beyond its database is lost: at most 0.1 seconds.
#
# etcdutl is in etcd's image, because Kubernetes uses the one that etcd releases: since 1.35, the oldest that is supported.
#
# If it is interrupted, the next run begins again. The old data is kept until the new data is complete.
raise_revision() {
  [[ -e $RESTORED ]] || return 0
  step "raising etcd's revision, since its data is that of a snapshot"
  local old=$STATE/etcd.old new=$STATE/etcd.new image
  # An interruption between the two renames left no data in place.
  [[ -e $STATE/etcd/member || ! -e $old/member ]] || mv "$old/member" "$STATE/etcd/member"
  image=$(kubeadm config images list --config "$CONFIG" 2>/dev/null | grep '/etcd:') ||
    die 'kubeadm names no image of etcd'
  # These may be those of an interrupted run.
  ctr --namespace=k8s.io tasks delete --force eco2-etcdutl >/dev/null 2>&1 || true
  ctr --namespace=k8s.io containers delete eco2-etcdutl >/dev/null 2>&1 || true
  rm -rf "$old" "$new"
  quietly "raising etcd's revision" timeout 600 ctr --namespace=k8s.io run --rm \
    --mount "type=bind,src=$STATE,dst=$STATE,options=rbind:rw" "$image" eco2-etcdutl \
    etcdutl snapshot restore "$STATE/etcd/member/snap/db" --data-dir="$new" \
    --skip-hash-check --bump-revision=1000000000 --mark-compacted \
    --name="$node" --initial-cluster="$node=https://$address:2380" --initial-advertise-peer-urls="https://$address:2380"
  [[ -e $new/member/snap/db ]] || die "raising etcd's revision left no data in $new"
  sync --file-system "$STATE"
  # Not the directory itself, which is mounted at /var/lib/etcd.
  mkdir -p "$old"
  mv "$STATE/etcd/member" "$old/member"
  mv "$new/member" "$STATE/etcd/member"
  sync --file-system "$STATE"
  rm -f "$RESTORED"
  rm -rf "$old" "$new"
}

# register_again: replaces the Node of the old machine by one of this machine. A Node's provider ID cannot be changed.
# The pods that are bound to the node stay, and the kubelet starts them here.
register_again() {
  step "registering this machine as $node"
  kubectl delete node "$node" --ignore-not-found >/dev/null
  quietly 'restarting the kubelet' systemctl restart kubelet
  KUBECTL_LIMIT=130 kubectl wait --for=create "node/$node" --timeout=120s >/dev/null ||
    die "the kubelet does not register $node; see 'journalctl -u kubelet' there"
  quietly 'marking the control plane' kubeadm init phase mark-control-plane --config "$CONFIG"
}

# made_before: whether the control plane was created by an earlier run. If somebody ran kubeadm by hand there is no
# DONE, but the add-ons exist, which are kubeadm's last step.
made_before() {
  [[ -e $DONE ]] ||
    kubectl --namespace=kube-system get deployment/coredns daemonset/kube-proxy >/dev/null 2>&1
}

await_control_plane() {
  retry 180 api_ready ||
    die "the control plane on $node was created before, and its API does not answer; see 'crictl ps -a' and 'journalctl -u kubelet' there (only 'kubeadm reset' would create a new, empty cluster)"
}

# check_room: refuses to change a control plane whose volume is full. etcd stops when it cannot write.
check_room() {
  local free
  free=$(df --output=avail --block-size=1M "$STATE" | tail -n 1)
  ((free >= 64)) ||
    die "the volume with the state of the cluster is full: $((free)) MiB are free, and etcd stops when it cannot write. Delete what is not etcd's, such as old copies: 'du --all --one-file-system $STATE' on $node lists all. Then the API comes back by itself within five minutes"
}

# kubeadm creates a token for manual joins. It is not needed, because join.sh creates its own.
drop_initial_token() {
  kubectl --namespace=kube-system delete secrets --field-selector=type=bootstrap.kubernetes.io/token >/dev/null
}

# CoreDNS must run before there is a node without taints, and also if there will be none.
allow_coredns_here() {
  step 'allowing CoreDNS to run on the control plane'
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

# install_timer NAME DESCRIPTION COMMAND TIMER-LINE…: installs a timer that runs one of the installed scripts. It is
# restarted each time, because an earlier run may have been interrupted between writing and starting it. The log levels
# suppress systemd's messages about each run, so that runs that find nothing to do log nothing.
install_timer() {
  local name=eco2-$1 description=$2 command=$3
  shift 3
  put "/etc/systemd/system/$name.service" 0644 <<UNIT
[Unit]
Description=$description

[Service]
Type=oneshot
ExecStart=/usr/bin/bash $SCRIPTS/$command
TimeoutStartSec=1200
SyslogLevel=notice
LogLevelMax=notice
UNIT
  put "/etc/systemd/system/$name.timer" 0644 <<UNIT
[Unit]
Description=$description

[Timer]
$(printf '%s\n' "$@")
AccuracySec=1

[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet "$name.timer"
  systemctl restart "$name.timer"
}

install_timers() {
  step "starting the timers that approve the kubelets' serving certificates and renew the control plane's"
  install_timer approve "approval of the kubelets' serving certificates" approve.sh OnActiveSec=1 OnUnitInactiveSec=15
  # An update renews them earlier: see config/certificates.go. This is for a cluster without updates.
  install_timer certificates "renewal of the control plane's certificates" "certificates.sh --valid-until '30 days'" 'OnCalendar=*-*-* 03:00:00 UTC' Persistent=true
}

main() {
  local node address provider_id labels taints own=() passed_on=() files=$SCRATCH/files
  split_arguments prepare.sh "$@"
  set -- "${passed_on[@]}"
  flags node address provider-id labels taints -- "${own[@]}"
  acquire_lock init
  check_room
  split_files "$files"
  [[ -s $files/kubeadm.yaml ]] || die 'no kubeadm configuration on standard input'
  if made_before; then
    step 'the control plane was created before'
    if [[ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ]]; then
      install_api_server_files "$files"
      adopt_control_plane "$files"
    fi
    await_control_plane
    bash "$SCRIPTS/upgrade-control-plane.sh" --node "$node" --files "$files" -- "$@" </dev/null
  else
    install_api_server_files "$files"
    make_control_plane "$files"
    step 'waiting for the API server'
    retry 180 api_ready || die "the API server on $node does not become ready; see 'crictl ps -a' there"
    drop_initial_token
  fi
  put "$STATE/address" 0600 <<<"$address"
  put "$STATE/version" 0600 <<<"$(version_in "$files/kubeadm.yaml")"
  touch "$DONE"
  # These credentials cannot be revoked. kubeadm needs them only to permit those of admin.conf.
  rm -f /etc/kubernetes/super-admin.conf
  step 'protecting the labels of nodes'
  apply "$files/nodes.yaml"
  record "$node" "$address" "$provider_id" joined
  install_timers
  allow_coredns_here
  reconcile "$node" "$labels" "$taints"
  step "the control plane $node is up"
}

main "$@"; exit
