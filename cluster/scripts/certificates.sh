# shellcheck shell=bash
#
# Renews the certificates of the control plane, and the one in the administrator's
# kubeconfig, if one of them expires before a date. Its components then read the new
# ones, one component after the other. Certificate authorities are not renewed, which
# are valid for ten years, nor are those of the kubelets, which renew their own.
#
# A timer runs it every day, and kubeconfig.sh in an update.
#
# Flag: --valid-until, the date, as GNU date reads it.

set -euo pipefail

# The marker of certificates that components have not read yet.
readonly UNREAD=/etc/kubernetes/.certificates-unread

# expiring SECONDS: prints which certificates expire within this time.
expiring() {
  local file
  for file in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt; do
    [[ $file == *ca.crt ]] || openssl x509 -in "$file" -noout -checkend "$1" >/dev/null || basename "$file"
  done
  for file in /etc/kubernetes/{admin,controller-manager,scheduler}.conf; do
    sed --quiet 's/^ *client-certificate-data: //p' "$file" | base64 --decode |
      openssl x509 -noout -checkend "$1" >/dev/null || basename "$file"
  done
}

main() {
  local valid_until until component found
  flags valid-until -- "$@"
  # init.sh may be upgrading the control plane, with its certificates.
  acquire_lock init
  until=$(date --date="$valid_until" +%s) || die "--valid-until is $valid_until, which is no date"
  found=$(expiring "$((until - $(date +%s)))" | enumerate)
  if [[ -z $found && ! -e $UNREAD ]]; then
    step "the control plane's certificates are valid until $(date --utc --date="@$until" +%F)"
    return
  fi
  step "renewing the control plane's certificates: $found; its API may be away for a minute"
  touch "$UNREAD"
  quietly 'kubeadm certs renew' kubeadm certs renew all
  for component in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    stop_component "$component" # the kubelet starts it again
    retry 180 api_ready || die "the API server does not answer after $component was stopped to read its new certificates; see 'crictl ps -a' and 'journalctl -u kubelet' on this machine"
  done
  rm -f "$UNREAD"
  step "the control plane's certificates are renewed"
}

main "$@"; exit
