# shellcheck shell=bash
#
# Puts the scripts into one directory on the control plane, each with the library
# before it. A change of one is then one change in a preview, where the thirteen
# commands that run it show only another hash, and the state holds its text once.
#
# Needs on standard input the library and the scripts, each behind a line
# `=== NAME ===`. They take the place of all that was there.

set -euo pipefail

main() {
  alone install
  mkdir "$SCRATCH/scripts"
  awk -v dir="$SCRATCH/scripts" '/^=== [a-z]+\.sh ===$/ { file = dir "/" $2; next } { print > file }'
  # A command that runs meanwhile finds the old file or the new one, and never half of one.
  mkdir -p "$SCRIPTS"
  mv "$SCRATCH/scripts/lib.sh" "$SCRATCH/lib.sh"
  local file name
  for file in "$SCRATCH"/scripts/*; do
    name=$(basename "$file")
    cat "$SCRATCH/lib.sh" "$file" | put "$SCRIPTS/$name" 0755
  done
  for file in "$SCRIPTS"/*; do
    name=$(basename "$file")
    [[ -e $SCRATCH/scripts/$name ]] || rm "$file"
  done
  step "the scripts are in $SCRIPTS"
}

main "$@"; exit
