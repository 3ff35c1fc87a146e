#!/usr/bin/env bash
# What recording costs as a share of a step, both measured here and now: trains shape A (4 layers, d 128, context 64, batch 12) with two
# workers for 400 steps, takes the median step time from its curve record, and gives it to recording_bench. Goal: at most 0.1 %.
#
#   tests/bench/recording.sh RECORDING_BENCH     KIBAN names the executable
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
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
steps = 400
[checkpoint]
interval_steps = 400
[monitoring]
listen = "127.0.0.1:0"
[launch]
workers = 2
threads_per_worker = 1
TOML
"$kiban" pretrain "$directory/run.toml" --run-dir "$directory/run" >"$directory/log" 2>&1 || { cat "$directory/log"; exit 1; }
median=$("$kiban" curve "$directory/run" --timing | awk -F, 'NR > 1 { print $8 }' | sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }')
"$1" "$median"
