# shellcheck shell=bash
#
# Prints the administrator's kubeconfig for use from outside, and nothing else:
# the program keeps the output as a secret. Needs --server, the API's public URL.

set -euo pipefail

main() {
  local server
  flags server -- "$@"
  [[ -r /etc/kubernetes/admin.conf ]] || die 'there is no /etc/kubernetes/admin.conf; the control plane has to be made first'
  sed --regexp-extended "s|^( *server:) .*|\1 $server|" /etc/kubernetes/admin.conf
}

main "$@"; exit
