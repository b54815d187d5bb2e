# shellcheck shell=bash
#
# Approves the kubelets' requests for serving certificates. With these certificates
# their clients, the API server and metrics-server, verify them. Kubernetes signs
# such a request only after somebody has approved it. A timer on the control plane
# runs this script every few seconds; kubelets renew their certificates the same way.
#
# A request is approved if a node created it for its own name and for the address
# that the program recorded for it, and if its Node has the provider ID that the
# program recorded. Any other request is left alone, and the reason is logged once;
# Kubernetes deletes requests that nobody approves after a day.

set -euo pipefail

# The time limit of one kubectl in seconds: a run that hangs would prevent the next from starting.
export KUBECTL_LIMIT=15

# pending: prints the undecided requests, one per line: name, user, groups, usages, request, and the reason that was
# logged for it. Quoting escapes the text that others wrote, so that it cannot end a field or a line.
pending() {
  kubectl get certificatesigningrequests --field-selector=spec.signerName=kubernetes.io/kubelet-serving \
    --output=go-template='{{range .items}}{{if not .status.conditions}}{{.metadata.name}}{{"\t"}}{{printf "%q" .spec.username}}{{"\t"}}{{printf "%q" .spec.groups}}{{"\t"}}{{printf "%q" .spec.usages}}{{"\t"}}{{.spec.request}}{{"\t"}}{{with .metadata.annotations}}{{printf "%q" (index . "eco2.io/not-approved")}}{{end}}{{"\n"}}{{end}}{{end}}'
}

# objection USER GROUPS USAGES REQUEST: prints why the request must not be approved, or nothing.
objection() {
  # shellcheck disable=SC2034 # recorded sets them
  local node recorded_address recorded_id recorded_how
  if [[ ! $1 =~ ^\"system:node:([a-z0-9.-]+)\"$ || $2 != '["system:nodes" "system:authenticated"]' ]]; then
    echo 'it was not created by a node'
    return
  fi
  node=${BASH_REMATCH[1]}
  base64 --decode <<<"$4" >"$SCRATCH/request"
  if ! recorded "$node"; then
    echo 'the program declares no such node'
  elif [[ $3 != '["digital signature" "server auth"]' && $3 != '["digital signature" "key encipherment" "server auth"]' ]]; then
    echo 'its usages are not those of a serving certificate'
  # With more than one, openssl might check another than Kubernetes signs.
  elif (($(grep --text --count -e '-----BEGIN' "$SCRATCH/request") != 1)); then
    echo 'it does not contain exactly one request'
  elif [[ $(openssl req -in "$SCRATCH/request" -noout -subject -nameopt RFC2253 2>&1) != "subject=CN=system:node:$node,O=system:nodes" ]]; then
    echo 'its subject is not that of the node'
  elif [[ $(extensions) != " Attributes: Requested Extensions: X509v3 Subject Alternative Name: DNS:$node, IP Address:$recorded_address " ]]; then
    echo "it does not ask for the node's name and address"
  elif ! grep --quiet --fixed-strings --line-regexp "$node $recorded_id" "$SCRATCH/nodes"; then
    echo "the node's provider ID is not that of its machine"
  fi
}

# extensions: prints everything that the request contains besides its subject and key, in one line.
extensions() {
  openssl req -in "$SCRATCH/request" -noout -text -reqopt no_header,no_version,no_subject,no_pubkey,no_sigdump,no_signame |
    tr --squeeze-repeats '[:space:]' ' '
}

main() {
  local name user groups usages request logged reason approved=()
  # If the API server does not respond, there is nothing to do; the next run tries again.
  pending >"$SCRATCH/pending" 2>/dev/null || return 0
  [[ -s $SCRATCH/pending ]] || return 0
  # One call for all nodes and one for all approvals: in a new cluster every node has a request, and every node waits
  # for this machine.
  kubectl get nodes --output=jsonpath='{range .items[*]}{.metadata.name} {.spec.providerID}{"\n"}{end}' >"$SCRATCH/nodes" 2>/dev/null || return 0
  while IFS=$'\t' read -r name user groups usages request logged; do
    reason=$(objection "$user" "$groups" "$usages" "$request")
    if [[ -z $reason ]]; then
      approved+=("$name")
      step "approving $name, the serving certificate of $user"
    elif [[ $logged != "\"$reason\"" ]]; then
      step "$name of $user is not approved: $reason"
      kubectl annotate --overwrite certificatesigningrequest "$name" "eco2.io/not-approved=$reason" >/dev/null </dev/null
    fi
  done <"$SCRATCH/pending"
  ((${#approved[@]} == 0)) || kubectl certificate approve "${approved[@]}" >/dev/null
}

main "$@"; exit
