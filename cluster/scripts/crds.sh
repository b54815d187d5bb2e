# shellcheck shell=bash
#
# Applies custom resource definitions from pinned files, before the charts that
# use them: Helm would install them once and never upgrade them. Server-side,
# because many are too large for the annotation that a client-side apply writes.
#
# Arguments: NAME [--files-mirror URL] URL SHA256 [URL SHA256 …]. NAME is used in
# messages.

set -euo pipefail

main() {
  local name=${1:?the name of the release is missing}
  shift
  if [[ ${1:-} == --files-mirror ]]; then
    # shellcheck disable=SC2034 # upstream reads it
    local files_mirror=${2?--files-mirror needs a value}
    shift 2
  fi
  (($# > 0 && $# % 2 == 0)) || die "the custom resource definitions of $name need a checksum for each URL"
  while (($#)); do
    step "applying custom resource definitions of $name from $1"
    download "$1" "$2" "$SCRATCH/crds.yaml"
    apply "$SCRATCH/crds.yaml"
    shift 2
  done
}

main "$@"; exit
