# shellcheck shell=bash
# shellcheck disable=SC2317 # retry calls a function
#
# Runs one of the installed scripts on a worker, over SSH from the control plane.
# The state then holds the script's text once, and not once for each worker.
#
# Needs --node, --address (the worker's), --user, --provider-id and --script NAME,
# then -- and the script's own arguments; and on standard input the private SSH key
# of the worker, which goes into the memory of an agent and nowhere else.

set -euo pipefail

# A machine that has just started refuses connections until its sshd is up.
readonly REACH_LIMIT=180

reachable() { remote <<<exit >/dev/null 2>"$SCRATCH/ssh"; }

main() {
  # shellcheck disable=SC2034 # remote reads it
  local node address user provider_id script own=() status=0
  while (($#)) && [[ $1 != -- ]]; do
    own+=("$1")
    shift
  done
  (($#)) || die 'the arguments of the script have to follow behind --'
  shift
  flags node address user provider-id script -- "${own[@]}"
  alone "$script-$node"
  start_agent
  retry "$REACH_LIMIT" reachable || die "$node does not let $user in over SSH at $address: $(tail -n 1 "$SCRATCH/ssh")"
  remote "$@" <"$SCRIPTS/$script.sh" || status=$?
  # 255 is ssh's own. Of everything else the script has said why.
  ((status != 255)) || die "the connection to $node broke while $script ran there; run the update again"
  exit "$status"
}

main "$@"; exit
