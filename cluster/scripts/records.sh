# shellcheck shell=bash
#
# Waits until the DNS records of a domain are gone that is taken away from a
# cluster which stays. Its Ingress is deleted by now; external-dns, which removes
# the records, and the certificate go when this has ended.
#
# An Ingress of somebody else's that still needs the domain would keep its record
# for ever and hold the certificate for AWS's 20 minutes: it is named at once.
#
# Needs --domain and --certificate, the ARN.

set -euo pipefail

# One slow answer must not use up the time for everything.
export KUBECTL_LIMIT=15
# Seconds for the load balancer of an Ingress that is deleted already.
readonly INGRESS_LIMIT=120
readonly WAY_OUT="see docs/operations.md, 'Taking the domain away'"
readonly NAMES='{.metadata.namespace}/{.metadata.name}|{.metadata.deletionTimestamp}'
readonly CERTIFICATES='{.metadata.annotations.alb\.ingress\.kubernetes\.io/certificate-arn}'
readonly HOSTS='{.spec.rules[*].host} {.spec.tls[*].hosts[*]} {.metadata.annotations.external-dns\.alpha\.kubernetes\.io/hostname}'

# Ingresses that need the domain or its certificate, a line each: name and, once
# somebody has deleted it, since when.
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
names() { awk "$1"' { print $1 }' | enumerate; } # CONDITION

main() {
  local domain certificate left
  flags domain certificate -- "$@"
  retry 10 api_ready ||
    die "the cluster's API does not answer, so nobody knows what still needs $domain; $WAY_OUT"
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
  let_dns_follow "$SECONDS"
}

main "$@"; exit
