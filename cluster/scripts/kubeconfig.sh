# shellcheck shell=bash
#
# Prints the administrator's kubeconfig for use from outside the cluster, encrypted:
# if the connection breaks, the error of the command contains everything that it has
# printed. Before that, it renews certificates that expire before --valid-until, if
# that is not empty. Flags: --server, the API's public URL, and --valid-until, a date.
# Standard input: the key, one line.

set -euo pipefail

main() {
  local server valid_until
  flags server valid-until -- "$@"
  [[ -r /etc/kubernetes/admin.conf ]] || die 'there is no /etc/kubernetes/admin.conf; the control plane must be created first'
  [[ -z $valid_until ]] || bash "$SCRIPTS/certificates.sh" --valid-until "$valid_until" </dev/null
  sed --regexp-extended "s|^( *server:) .*|\1 $server|" /etc/kubernetes/admin.conf >"$SCRATCH/kubeconfig"
  openssl enc -aes-256-ctr -pbkdf2 -base64 -A -in "$SCRATCH/kubeconfig" -pass stdin
}

main "$@"; exit
