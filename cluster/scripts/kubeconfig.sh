# shellcheck shell=bash
#
# Prints the administrator's kubeconfig for use from outside, and nothing else. It
# is sealed, because what a command has printed is in its error if the connection
# breaks. Needs --server, the API's public URL, and on standard input the key, a line.

set -euo pipefail

main() {
  local server
  flags server -- "$@"
  [[ -r /etc/kubernetes/admin.conf ]] || die 'there is no /etc/kubernetes/admin.conf; the control plane has to be made first'
  sed --regexp-extended "s|^( *server:) .*|\1 $server|" /etc/kubernetes/admin.conf >"$SCRATCH/kubeconfig"
  openssl enc -aes-256-ctr -pbkdf2 -base64 -A -in "$SCRATCH/kubeconfig" -pass stdin
}

main "$@"; exit
