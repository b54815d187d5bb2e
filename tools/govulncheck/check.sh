#!/usr/bin/env bash
#
# Fails if programs contain functions with known vulnerabilities that nobody has
# accepted. Names those that were accepted and are no longer found.
#
# Arguments: GOVULNCHECK ACCEPTED PROGRAM…

set -euo pipefail
readonly SCANNER=$1 ACCEPTED=$2
shift 2

# Prints a line for each vulnerable function of a program: the vulnerability's ID, the program, the module. In this
# format the scanner exits with 0 whatever it finds. A finding without a function is about a module of which nothing
# vulnerable was linked.
findings() { # PROGRAM
  "$SCANNER" -mode binary -format json "$1" | jq --raw-output --arg program "${1##*/}" '
    .finding | select(.trace[0].function)
    | "\(.osv) \($program): \(.trace[0].module) \(.trace[0].version), fixed in \(.fixed_version // "no version yet")"
  '
}

declare -A accepted=() found=()
while read -r id reason; do
  [[ $id != GO-* ]] || accepted[$id]=$reason
done <"$ACCEPTED"

new=''
for program; do
  lines=$(findings "$program" | sort --unique)
  while read -r id where; do
    [[ -n $id ]] || continue
    found[$id]=$where
    [[ -v accepted[$id] ]] || new+="$id in $where"$'\n'
  done <<<"$lines"
done

for id in "${!accepted[@]}"; do
  [[ -v found[$id] ]] || echo "note: $id is no longer found; remove it from $ACCEPTED"
done
[[ -z $new ]] || {
  printf '%serror: raise these modules, or accept a vulnerability in %s; https://pkg.go.dev/vuln/ describes each\n' "$new" "$ACCEPTED" >&2
  exit 1
}
