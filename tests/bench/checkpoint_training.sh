#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What saving beside training costs training: in runs of a model of 50 million parameters with a checkpoint each 16 steps,
# the mean step while one is written over the mean step while none is, by the wall clock, so that what stands still for a
# save counts. Goal: at most 1.10, over at least 30 steps of each kind. From the same figures: the part of training time
# that saves take at the interval that "auto" would choose for them and one failure a day. Goal: at most 0.5 %.
#
#   tests/bench/checkpoint_training.sh [ROUNDS]     KIBAN names the executable; default 2 rounds of 98 steps
#   COPY=lazy POOL_MIB=64 SPREAD=0 IO=cached ...    other ways to copy and write. TMPDIR chooses the disk
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
steps = 98
eval_interval_steps = 0
eval_micro_batch_rows = 1
[train.schedule]
warmup_steps = 1
[checkpoint]
interval_steps = 16
copy = "${COPY:-auto}"
pool_mib = ${POOL_MIB:-0}
spread = ${SPREAD:-0.25}
io = "${IO:-direct}"
[data.holdout]
fraction = 0.05
[monitoring]
listen = ""
[launch]
workers = 1
threads_per_worker = 2
TOML
cd "$directory"
# Seconds since 1970 at which each save began and was durable, from the journal.
saves() {
    sed -n 's/.*"event":"checkpoint","seconds":\([0-9.e-]*\),"step":[0-9]*,"time":"\([^"]*\)".*/\1 \2/p' "$1/journal.jsonl" |
        while read -r seconds time; do echo "$(date -d "$time" +%s.%N) $seconds"; done | awk '{ printf "%.3f %.3f\n", $1 - $2, $1 }'
}
for round in $(seq 1 "$rounds"); do
    "$kiban" pretrain run.toml --run-dir r >r.log 2>&1 || { tail r.log; exit 1; }
    saves r >saves
    # Between two steps' ends: their wall times. The first 16 steps touch memory for the first time and learn how far
    # apart saves are; the last step has one that is waited for.
    "$kiban" curve r --csv --timing | awk -F, -v round="$round" '
        NR == FNR { split($0, s, " "); begin[NR] = s[1]; end[NR] = s[2]; saves = NR; next }
        FNR == 1 { for (i = 1; i <= NF; ++i) if ($i == "wall_time") column = i; next }
        { now = $column; seconds = now - before; last = before; before = now }
        $1 <= 17 || $1 >= 98 { next }
        {
            inside = 0
            for (i = 1; i <= saves; ++i) {
                from = begin[i] > last ? begin[i] : last; to = end[i] < now ? end[i] : now
                if (to > from) inside += to - from
            }
            print (inside > seconds / 2 ? "writing" : inside > 0 ? "mixed" : "free"), seconds
        }' saves - >>steps
    echo "round $round: $(wc -l <saves) checkpoints, $(grep -c checkpoint_skipped r/journal.jsonl || true) skipped, the last but one in" \
        "$(tail -n 2 saves | awk 'NR == 1 { print $2 - $1 }') s"
    rm -rf r
done
awk -v name="${COPY:-auto}" -v saves="$((rounds * 5))" '
    { sum[$1] += $2; ++count[$1] }
    END {
        free = sum["free"] / count["free"]; writing = sum["writing"] / count["writing"]; ratio = writing / free
        cost = (sum["writing"] + sum["mixed"] - free * (count["writing"] + count["mixed"])) / saves
        if (cost < 0) cost = 0
        apart = sqrt(2 * cost * 86400)
        part = apart == 0 ? 0 : 100 * cost / apart
        print "copy " name ": mean step " free " s (" count["free"] " steps), " writing " s while writing (" count["writing"] "): " ratio " times"
        print "a save costs " cost " s of training; each " apart " s, as Young and Daly would have it: " part " %"
        exit !(count["free"] >= 30 && count["writing"] >= 30 && ratio <= 1.10)
    }' steps
