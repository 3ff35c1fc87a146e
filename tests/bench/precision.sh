#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# precision.sh TRAIN_BENCH [ROUNDS] [SHAPE ...]: Kiban's training speed and activation memory in bf16 over those in fp32.
#
# Rounds are interleaved; ratios are of the medians. OMP_NUM_THREADS is 2 when unset; malloc's settings are the launcher's.
set -eu
bench=$1
rounds=${2:-5}
[ $# -gt 2 ] && shift 2 && shapes=$* || shapes="A B C256"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

steps_of() { case $1 in A) echo 150 ;; B) echo 12 ;; C64) echo 10 ;; *) echo 6 ;; esac; }

echo "threads $OMP_NUM_THREADS, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
round=1
while [ "$round" -le "$rounds" ]; do
    for shape in $shapes; do
        for precision in fp32 bf16; do
            MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456 \
                "$bench" "$shape" "$(steps_of "$shape")" "$precision"
        done
    done | tee -a "$results"
    round=$((round + 1))
done

/usr/bin/python3 - "$results" <<'END'
import collections, json, statistics, sys
found = collections.defaultdict(lambda: collections.defaultdict(list))
for line in open(sys.argv[1]):
    result = json.loads(line)
    found[result["shape"]][result["precision"]].append(result)
median = lambda runs, key: statistics.median(run[key] for run in runs)
print(f"{'shape':6} {'fp32 tok/s':>11} {'bf16 tok/s':>11} {'ratio':>6} {'kept MiB':>9} {'in bf16':>8} {'ratio':>6} {'peak MiB':>9} {'in bf16':>8}")
for shape, by in found.items():
    fp32, bf16 = by["fp32"], by["bf16"]
    rates = [median(runs, "tokens_per_second") for runs in (fp32, bf16)]
    kept = [median(runs, "kept_mib") for runs in (fp32, bf16)]
    peak = [median(runs, "peak_mib") for runs in (fp32, bf16)]
    print(f"{shape:6} {rates[0]:11.0f} {rates[1]:11.0f} {rates[1] / rates[0]:6.2f} {kept[0]:9.1f} {kept[1]:8.1f} {kept[1] / kept[0]:6.2f} {peak[0]:9.0f} {peak[1]:8.0f}")
END
