# shellcheck shell=bash
# shellcheck disable=SC2317 # retry calls a function
#
# Runs one of the installed scripts on a worker, over SSH from the control plane.
# This way the state contains the script's text once, and not once per worker.
#
# Flags: --node, --address (the worker's), --host-key (its public SSH host key, empty
# if it is unknown), --user, --provider-id and --script NAME, then -- and the
# arguments of that script. Standard input: the private SSH key for the login, which
# is kept only in the memory of an agent.

set -euo pipefail

# The time limit in seconds for reaching the worker: a new machine refuses connections until its sshd is running.
readonly REACH_LIMIT=180

reachable() { remote <<<exit >/dev/null 2>"$SCRATCH/ssh"; }

main() {
  # shellcheck disable=SC2034 # remote reads it
  local node address host_key user provider_id script own=() passed_on=() status=0
  split_arguments 'the script' "$@"
  set -- "${passed_on[@]}"
  flags node address host-key user provider-id script -- "${own[@]}"
  acquire_lock "$script-$node"
  start_agent
  retry "$REACH_LIMIT" reachable || no_login
  remote "$@" <"$SCRIPTS/$script.sh" || status=$?
  # 255 is ssh's own exit status. For any other the script has logged the reason.
  ((status != 255)) || die "the connection to $node broke while $script ran there; run the update again"
  exit "$status"
}

main "$@"; exit
