# shellcheck shell=bash
#
# Mounts the volume with the cluster's state on the control plane. It runs at every
# start of the machine, before the kubelet: state.sh installs a unit for that.
#
# Flag: --volume, the id of an EBS volume that state.sh has set up.

set -euo pipefail

main() {
  local volume device
  flags volume -- "$@"
  device=$(state_device "$volume" 120) ||
    die "the volume $volume is not attached to this machine, and the control plane cannot start without it; attach it in AWS, or run the update again"
  mount_state "$device"
}

main "$@"; exit
