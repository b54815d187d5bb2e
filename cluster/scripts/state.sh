# shellcheck shell=bash
#
# Puts the state of the cluster on a volume of its own, which outlives the machine:
# etcd's data, the certificate authorities and their keys, the key that encrypts
# secrets, and the records of the nodes. A new volume is formatted, once; a volume
# that has anything else on it is refused, and nothing on it is changed. The state of
# a control plane that was created without a volume is moved to it, and its API is
# away meanwhile. On a control plane whose state is on the volume, nothing changes.
#
# Flags: --cluster, the name of the cluster, and --volume, the id of the EBS volume.

set -euo pipefail

format() { # DEVICE
  local type
  # 2 means that there is nothing on the device that blkid knows: neither a file system nor partitions.
  type=$(blkid --probe --match-tag TYPE --match-tag PTTYPE --match-tag LABEL --output export "$1") && status=0 || status=$?
  case $status in
    0) [[ $type == *"LABEL=$STATE_LABEL"* ]] ||
      die "the volume $volume has something else on it than the state of a cluster, and nothing on it was changed: $(enumerate <<<"$type")" ;;
    2)
      step "formatting the volume $volume"
      quietly "formatting $volume" mkfs.ext4 -q -L "$STATE_LABEL" "$1"
      ;;
    *) die "cannot read the volume $volume at $1" ;;
  esac
}

# claim: records to which cluster the volume belongs.
claim() {
  local owner
  if [[ -e $STATE/cluster ]]; then
    owner=$(<"$STATE/cluster")
    [[ $owner == "$cluster" ]] ||
      die "the volume $volume has the state of the cluster $owner, and this is $cluster; nothing on it was changed"
  else
    put "$STATE/cluster" 0600 <<<"$cluster"
  fi
}

# note_restore: records the id of the volume that the file system is on. If it was on another one before, the volume was
# made from a snapshot, and init.sh must know that etcd has gone back in time. Earlier versions recorded no id.
note_restore() {
  local before=$volume
  [[ ! -e $STATE/volume ]] || before=$(<"$STATE/volume")
  if [[ $before != "$volume" ]]; then
    step "the volume $volume has the state that a snapshot of $before had"
    # First, so that an interruption cannot lose it.
    [[ ! -e $STATE/etcd/member ]] || put "$RESTORED" 0600 <<<"$before"
    sync --file-system "$STATE"
  fi
  put "$STATE/volume" 0600 <<<"$volume"
}

# on_this_disk: whether the control plane was created on the machine's own disk, by an earlier version of the program.
on_this_disk() { [[ -e /etc/kubernetes/pki/.initialized && ! /etc/kubernetes/pki -ef $STATE/pki ]]; }

# move_state: copies the state of the control plane to the volume. The certificates come last: without them the volume
# counts as empty, and an interrupted move begins again.
move_state() {
  [[ ! -e $STATE/pki/.initialized ]] ||
    die "the volume $volume has a control plane on it, and this machine's own disk has another one; attach the volume that belongs to this machine"
  step 'moving the state of the control plane to its volume; the API is away meanwhile'
  quietly 'stopping the kubelet' systemctl stop kubelet
  # The kubelet would start them again.
  stop_component kube-apiserver
  stop_component etcd
  copy /var/lib/etcd etcd
  copy "$NODES" nodes
  cp --archive "$ENCRYPTION" "$STATE/encryption.yaml"
  sync --file-system "$STATE"
  copy /etc/kubernetes/pki pki
}

copy() { # FROM NAME
  [[ -d $1 ]] || return 0
  rm -rf "${STATE:?}/$2" "$STATE/$2.new"
  cp --archive "$1" "$STATE/$2.new"
  sync --file-system "$STATE"
  mv "$STATE/$2.new" "$STATE/$2"
}

# mount_at_boot: installs the unit that mounts the volume. The kubelet starts only when it is mounted: without it, it
# would start a control plane on an empty directory.
mount_at_boot() {
  put /etc/systemd/system/eco2-state.service 0644 <<UNIT
[Unit]
Description=the volume with the state of the cluster

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/bash /usr/local/lib/eco2/mount.sh --volume $volume

[Install]
WantedBy=multi-user.target
UNIT
  put /etc/systemd/system/kubelet.service.d/30-eco2-state.conf 0644 <<UNIT
[Unit]
Requires=eco2-state.service
After=eco2-state.service
UNIT
  systemctl daemon-reload
  systemctl enable --quiet eco2-state
  # Not a restart, which would restart the kubelet with it.
  quietly 'mounting the volume' systemctl start eco2-state
}

main() {
  local cluster volume device status moved=false
  flags cluster volume -- "$@"
  acquire_lock state
  step "waiting for the volume $volume"
  device=$(state_device "$volume" 180) || die "the volume $volume does not appear on this machine; see 'lsblk' there"
  format "$device"
  if on_this_disk; then
    mount_volume "$device"
    claim
    move_state
    moved=true
  fi
  mount_at_boot
  claim
  note_restore
  if [[ $moved == true ]]; then
    quietly 'starting the kubelet' systemctl start kubelet
    retry 180 api_ready || die "the API server does not answer after its state was moved; see 'crictl ps -a' and 'journalctl -u kubelet' on this machine"
  fi
  step "the state of the cluster is on the volume $volume"
}

main "$@"; exit
