# shellcheck shell=bash
#
# Puts the scripts that run on the control plane into one directory there. A
# change of one is then one change in a preview, where the thirteen commands that
# run it show only another hash, and the state holds its text once.
#
# Needs on standard input the files, each behind a line `=== NAME ===`. They take
# the place of all that was there.

set -euo pipefail

readonly DIR=/usr/local/lib/eco2

main() {
  alone install
  mkdir "$SCRATCH/scripts"
  awk -v dir="$SCRATCH/scripts" '/^=== [a-z]+\.sh ===$/ { file = dir "/" $2; next } { print > file }'
  # A command that runs meanwhile finds the old file or the new one, and never half of one.
  mkdir -p "$DIR"
  local file name
  for file in "$SCRATCH"/scripts/*; do
    name=$(basename "$file")
    put "$DIR/$name" 0755 <"$file"
  done
  for file in "$DIR"/*; do
    name=$(basename "$file")
    [[ -e $SCRATCH/scripts/$name ]] || rm "$file"
  done
  step "the scripts are in $DIR"
}

main "$@"; exit
