# shellcheck shell=bash
#
# Runs when the domain is removed from a cluster that stays, and waits until the
# domain's DNS records are gone. The program's own Ingress has already been deleted;
# external-dns, which deletes the records, and the certificate are deleted after this.
#
# Another Ingress that still uses the domain would keep its record forever, and would
# block the deletion of the certificate for the provider's 20 minutes. So the script
# fails at once and names it.
#
# Flags: --domain and --certificate, the ARN.

set -euo pipefail

# The time limit of one kubectl in seconds: one slow response must not use up the time for everything.
export KUBECTL_LIMIT=15
# The time in seconds for deleting the load balancers of Ingresses that are already being deleted.
readonly INGRESS_LIMIT=120
readonly WAY_OUT="see docs/operations.md, 'Taking the domain away'"
readonly NAMES='{.metadata.namespace}/{.metadata.name}|{.metadata.deletionTimestamp}'
readonly CERTIFICATES='{.metadata.annotations.alb\.ingress\.kubernetes\.io/certificate-arn}'
readonly HOSTS='{.spec.rules[*].host} {.spec.tls[*].hosts[*]} {.metadata.annotations.external-dns\.alpha\.kubernetes\.io/hostname}'

# users: prints the Ingresses that use the domain or its certificate, one per line: name
# and, if it is being deleted, since when.
users() {
  each_object ingresses.networking.k8s.io "$NAMES|$CERTIFICATES|$HOSTS" |
    awk -F'|' -v domain="$domain" -v certificate="$certificate" '
      {
        used = index($3, certificate)
        count = split($4, hosts, /[ ,]+/)
        for (i = 1; i <= count; i++) used = used || substr("." hosts[i], length(hosts[i]) - length(domain) + 1) == "." domain
        if (used) print $1, $2
      }'
}
# names CONDITION: joins the names in those lines for which the awk condition holds.
names() { awk "$1"' { print $1 }' | enumerate; }

main() {
  local domain certificate left
  flags domain certificate -- "$@"
  retry 10 api_ready ||
    die "the cluster's API does not answer, so it is unknown what still needs $domain; $WAY_OUT"
  # shellcheck disable=SC2016 # awk's variable
  left=$(users | names '$2 == ""') || die "the cluster's Ingresses cannot be listed; $WAY_OUT"
  [[ -z $left ]] ||
    die "these Ingresses still need $domain or its certificate: $left; delete them or give them another host, and run the update again; $WAY_OUT"
  until left=$(users | names 1) && [[ -z $left ]]; do
    ((SECONDS < INGRESS_LIMIT)) ||
      die "after ${INGRESS_LIMIT}s these deleted Ingresses are still there: ${left:-unknown, as the API no longer answers}; $WAY_OUT"
    step "waiting for the load balancers of ${left:-the API}"
    sleep 3
  done
  await_dns_cleanup "$SECONDS"
}

main "$@"; exit
