# shellcheck shell=bash
#
# Approves the kubelets' requests for serving certificates, by which their clients
# verify them: the API server and whatever reads metrics. Kubernetes signs such a
# request once somebody has approved it. A timer on the control plane runs this
# every few seconds; kubelets renew their certificates in the same way.
#
# A request is approved if a node made it and asks for what is its own: its name and
# the address that the program gave it, while its Node has the provider ID that the
# program gave it. Any other stays as it is, and why is logged once; Kubernetes
# deletes requests that nobody approves after a day.

set -euo pipefail

# Seconds for one kubectl: a run that hangs would keep the next from starting.
export KUBECTL_LIMIT=15

# Requests that nobody has decided about, a line each: name, user, groups, usages, request, and what was logged of it.
# Quoting escapes what others wrote, so that none of it ends a field or a line.
pending() {
  kubectl get certificatesigningrequests --field-selector=spec.signerName=kubernetes.io/kubelet-serving \
    --output=go-template='{{range .items}}{{if not .status.conditions}}{{.metadata.name}}{{"\t"}}{{printf "%q" .spec.username}}{{"\t"}}{{printf "%q" .spec.groups}}{{"\t"}}{{printf "%q" .spec.usages}}{{"\t"}}{{.spec.request}}{{"\t"}}{{with .metadata.annotations}}{{printf "%q" (index . "eco2.io/not-approved")}}{{end}}{{"\n"}}{{end}}{{end}}'
}

# objection USER GROUPS USAGES REQUEST: why the request is not approved; nothing for one that is.
objection() {
  # shellcheck disable=SC2034 # recorded sets them
  local node recorded_address recorded_id recorded_how
  if [[ ! $1 =~ ^\"system:node:([a-z0-9.-]+)\"$ || $2 != '["system:nodes" "system:authenticated"]' ]]; then
    echo 'no node made it'
    return
  fi
  node=${BASH_REMATCH[1]}
  base64 --decode <<<"$4" >"$SCRATCH/request"
  if ! recorded "$node"; then
    echo 'the program has no such node'
  elif [[ $3 != '["digital signature" "server auth"]' && $3 != '["digital signature" "key encipherment" "server auth"]' ]]; then
    echo 'its usages are not those of a serving certificate'
  # What openssl reads must be what Kubernetes signs.
  elif (($(grep --text --count -e '-----BEGIN' "$SCRATCH/request") != 1)); then
    echo 'it is not one request'
  elif [[ $(openssl req -in "$SCRATCH/request" -noout -subject -nameopt RFC2253 2>&1) != "subject=CN=system:node:$node,O=system:nodes" ]]; then
    echo 'its subject is not that of the node'
  elif [[ $(extensions) != " Attributes: Requested Extensions: X509v3 Subject Alternative Name: DNS:$node, IP Address:$recorded_address " ]]; then
    echo "it does not ask for the node's name and address"
  elif ! grep --quiet --fixed-strings --line-regexp "$node $recorded_id" "$SCRATCH/nodes"; then
    echo "the node's provider ID is not that of its machine"
  fi
}

# All that the request asks for beside its subject and its key, in one line.
extensions() {
  openssl req -in "$SCRATCH/request" -noout -text -reqopt no_header,no_version,no_subject,no_pubkey,no_sigdump,no_signame |
    tr --squeeze-repeats '[:space:]' ' '
}

main() {
  local name user groups usages request logged reason approved=()
  # While the API server does not answer there is nothing to do; the next run tries again.
  pending >"$SCRATCH/pending" 2>/dev/null || return 0
  [[ -s $SCRATCH/pending ]] || return 0
  # Of all nodes at once, and all approvals at once: a new cluster has one of each node, while all wait for this machine.
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
