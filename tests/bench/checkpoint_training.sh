#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What saving beside training costs training: the mean step of a model of 50 million parameters while shards are written
# almost all the time, over the mean step without checkpoints, in turns on one machine. Goal: at most 1.10, over at least
# 30 steps each.
#
#   tests/bench/checkpoint_training.sh [ROUNDS]     KIBAN names the executable; default 2 rounds of 18 steps each
#   COPY=lazy POOL_MIB=64 ...                       the other way to copy. TMPDIR chooses the disk
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
rounds=${1:-2}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cat >"$directory/run.toml" <<TOML
[data]
sequence_length = 128
[[data.sources]]
path = "/usr/share/common-licenses/GPL-3"
[model]
layout = "gpt2"
layers = 7
d_model = 768
heads = 12
[train]
batch_rows = 8
micro_batch_rows = 8
steps = 18
eval_interval_steps = 0
eval_micro_batch_rows = 1
[train.schedule]
warmup_steps = 1
[checkpoint]
copy = "${COPY:-auto}"
pool_mib = ${POOL_MIB:-0}
[data.holdout]
fraction = 0.05
[monitoring]
listen = ""
[launch]
workers = 1
threads_per_worker = 2
TOML
cd "$directory"
run() {  # NAME INTERVAL
    "$kiban" pretrain run.toml --run-dir "$1" --set checkpoint.interval_steps="$2" >"$1.log" 2>&1 || { tail "$1.log"; exit 1; }
    # The first two steps touch memory for the first time, the last one has no save after it.
    "$kiban" curve "$1" --csv --timing | awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "step_seconds") column = i }
        NR > 3 { print $column }' >>"$2.seconds"
    commits=$(grep -c '"event":"checkpoint"' "$1/journal.jsonl" || true)
    skips=$(grep -c '"event":"checkpoint_skipped"' "$1/journal.jsonl" || true)
    echo "interval $2: $commits checkpoints, $skips skipped, $(grep -o 'checkpoint durable.*' "$1.log" | tail -n 1)"
    rm -rf "$1"
}
for round in $(seq 1 "$rounds"); do
    run "without-$round" 0
    run "with-$round" 1
done
awk -v name="${COPY:-auto}" 'FNR == 1 { ++file } { sum[file] += $1; ++count[file] }
    END { ratio = sum[2] / count[2] / (sum[1] / count[1])
          printf "copy %s: mean step %.3f s without checkpoints (%d steps), %.3f s while writing (%d): %.3f times\n", name,
              sum[1] / count[1], count[1], sum[2] / count[2], count[2], ratio
          exit !(count[1] >= 30 && count[2] >= 30 && ratio <= 1.10) }' 0.seconds 1.seconds
