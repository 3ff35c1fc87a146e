#!/usr/bin/env bash
# The archive of every step: processor time and size of turning a million samples of a curve record into Prometheus data.
# Goals: at most 15 s of processor time, at most 8 bytes a sample.
#
#   tests/bench/archive.sh MONITORING_CHILD [STEPS]      a step is four samples, an evaluation each hundred steps one more
set -euo pipefail
child=$1
steps=${2:-250000}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

processor_ms() {  # COMMAND...: its user and system time
    local TIMEFORMAT='%3U %3S'
    { time "$@" >"$directory/out" 2>"$directory/err"; } 2>&1 | awk '{printf "%d\n", 1000 * ($1 + $2)}'
}

write_ms=$(processor_ms "$child" openmetrics bench "$steps")
mv "$directory/out" "$directory/curve.om"
import_ms=$(processor_ms promtool tsdb create-blocks-from openmetrics --max-block-duration=2000h --quiet "$directory/curve.om" "$directory/blocks")
samples=$(grep -vc '^#' "$directory/curve.om")
bytes=$(du -sb "$directory/blocks" | cut -f1)
printf '%d samples: text %d MB in %d ms, blocks in %d ms of processor time, %d.%d bytes a sample, %d blocks\n' "$samples" \
    $(($(stat -c %s "$directory/curve.om") / 1000000)) "$write_ms" "$import_ms" \
    $((bytes / samples)) $((10 * bytes / samples % 10)) "$(find "$directory/blocks" -mindepth 1 -maxdepth 1 -type d | wc -l)"
[ $((write_ms + import_ms)) -le 15000 ] && [ "$bytes" -le $((8 * samples)) ] || { echo "archive: a goal is missed" >&2; exit 1; }
