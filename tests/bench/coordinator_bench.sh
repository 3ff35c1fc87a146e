#!/usr/bin/env bash
# What the coordinator costs while two workers train shape A (4 layers, d 128, context 64, batch 12): its processor time over the wall time, as a
# share of one core. Goal: below 1 %.
#
#   tests/bench/coordinator_bench.sh [SECONDS]     KIBAN names the executable; default 20 seconds
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
seconds=${1:-20}
directory=$(mktemp -d)
cat >"$directory/run.toml" <<'TOML'
[data]
sequence_length = 64
[[data.sources]]
path = "/usr/share/common-licenses/GPL-3"
[model]
layout = "gpt2"
layers = 4
d_model = 128
heads = 4
[train]
batch_rows = 12
steps = 1000000
[checkpoint]
interval_steps = 1000
[monitoring]
listen = "127.0.0.1:0"
[launch]
workers = 2
threads_per_worker = 1
TOML
"$kiban" pretrain "$directory/run.toml" --run-dir "$directory/run" >"$directory/log" 2>&1 &
coordinator=$!
trap 'kill -TERM $coordinator 2>/dev/null || true; wait $coordinator || true; rm -rf "$directory"' EXIT
step_of() { "$kiban" status "$directory/run" --json 2>/dev/null | sed -n 's/^  "step": *\([0-9]*\).*/\1/p' | head -n 1; }
ticks_of() { awk '{ print $14 + $15 }' "/proc/$coordinator/stat"; }
for _ in $(seq 1 600); do
    step=$(step_of || true)
    [ "${step:-0}" -lt 50 ] || break
    sleep 0.2
done
first_step=$(step_of) first_ticks=$(ticks_of)
sleep "$seconds"
awk -v ticks=$(($(ticks_of) - first_ticks)) -v hertz="$(getconf CLK_TCK)" -v seconds="$seconds" -v steps=$(($(step_of) - first_step)) 'BEGIN {
    share = ticks / hertz / seconds * 100
    printf "coordinator: %.2f %% of a core over %d s, %.1f steps a second\n", share, seconds, steps / seconds
    exit !(steps > 0 && share < 1) }'
