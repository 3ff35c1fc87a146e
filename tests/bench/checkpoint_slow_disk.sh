#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A disk that takes a minute to make a checkpoint durable: the steps beside it keep their time (goal: the 99th percentile
# at most 1.05 times that of the steps before), saves that fall due meanwhile are skipped and counted, nobody is killed.
# It fails, too, where the disk was not that slow, or no save fell due meanwhile.
#
#   tests/bench/checkpoint_slow_disk.sh     KIBAN names the executable
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
cat >run.toml <<TOML
[data]
sequence_length = 128
[[data.sources]]
path = "/usr/share/common-licenses/GPL-3"
[model]
layers = 2
d_model = 256
[train]
batch_rows = 16
micro_batch_rows = 16
steps = 1000
eval_interval_steps = 0
[checkpoint]
interval_steps = 300
[data.holdout]
fraction = 0.05
[monitoring]
listen = ""
[launch]
workers = 1
threads_per_worker = 2
TOML
# The second save, that of step 300, is the first periodic one.
KIBAN_FAULT="ckpt.fsync=delay60@2" "$kiban" pretrain run.toml --run-dir r >r.log 2>&1 || { tail r.log; exit 1; }
grep -c '"event":"training"' r/journal.jsonl | grep -qx 1 || { echo "the run was started again"; exit 1; }
percentile() {  # FIRST LAST STEP: of the wall time between steps
    "$kiban" curve r --csv --timing | awk -F, -v first="$1" -v last="$2" '
        NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "wall_time") column = i; next }
        { seconds = $column - before; before = $column } $1 >= first && $1 <= last { print seconds }' |
        sort -g | awk '{ s[NR] = $1 } END { print s[int(NR * 0.99)] }'
}
free=$(percentile 100 299)
beside=$(percentile 310 599)
entries() { grep "\"event\":\"$1\"" r/journal.jsonl || true; }
skipped=$(entries checkpoint_skipped | wc -l)
slow=$(entries checkpoint | sed -nE '/"step":300[,}]/s/.*"seconds":([0-9.eE+-]+).*/\1/p')
echo "$skipped saves skipped; the save of step 300 took ${slow:-no} s"
awk -v s="${slow:-0}" 'BEGIN { exit !(s >= 60) }' || { echo "expected the save of step 300 to take at least 60 s"; exit 1; }
[ "$skipped" -ge 1 ] || { echo "expected a save that fell due beside it and was skipped, found none"; exit 1; }
awk -v a="$free" -v b="$beside" 'BEGIN { print "99th percentile of a step: " a " s before, " b " s beside the slow disk: " b / a " times"; exit !(b / a <= 1.05) }'
