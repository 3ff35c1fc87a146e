#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# speed.sh TRAIN_BENCH [ROUNDS] [SHAPE ...]: Kiban's training speed over PyTorch eager's, on the same shapes, batch and threads.
#
# Rounds are interleaved; the ratio is of the medians. Both get OMP_NUM_THREADS (default 2) and OPENBLAS_CORETYPE as it stands, or, when it
# is unset, the kernels that fit the CPU. Kiban runs with the launcher's malloc settings, PyTorch with the default allocator, or with the same
# settings when PEER_KEEPS_MEMORY=1. Fails when a ratio is below its floor: 1.05 for A and B, 1.15 for C64.
set -eu
bench=$1
rounds=${2:-5}
[ $# -gt 2 ] && shift 2 && shapes=$* || shapes="A B C64 C256"
peer=$(dirname "$0")/pytorch_peer.py
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
if [ -z "${OPENBLAS_CORETYPE:-}" ]; then
    if grep -q avx512f /proc/cpuinfo; then OPENBLAS_CORETYPE=SKYLAKEX; else OPENBLAS_CORETYPE=HASWELL; fi
fi
export OPENBLAS_CORETYPE
results=$(mktemp)
trap 'rm -f "$results"' EXIT

steps_of() { case $1 in A) echo 150 ;; B) echo 12 ;; C64) echo 10 ;; *) echo 6 ;; esac; }
keep_memory() { MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456 "$@"; }

echo "threads $OMP_NUM_THREADS, OPENBLAS_CORETYPE $OPENBLAS_CORETYPE, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
round=1
while [ "$round" -le "$rounds" ]; do
    for shape in $shapes; do
        keep_memory "$bench" "$shape" "$(steps_of "$shape")"
        ${PEER_KEEPS_MEMORY:+keep_memory} /usr/bin/python3 "$peer" "$shape" "$(steps_of "$shape")"
    done | tee -a "$results"
    round=$((round + 1))
done

/usr/bin/python3 - "$results" <<'END'
import collections, json, statistics, sys
rates = collections.defaultdict(lambda: collections.defaultdict(list))
for line in open(sys.argv[1]):
    result = json.loads(line)
    rates[result["shape"]][result["program"]].append(result["tokens_per_second"])
floors, below = {"A": 1.05, "B": 1.05, "C64": 1.15}, []
print(f"{'shape':6} {'kiban tok/s':>12} {'pytorch tok/s':>14} {'ratio':>6}   per round")
for shape, by_program in rates.items():
    kiban, pytorch = by_program["kiban"], by_program["pytorch"]
    each = " ".join(f"{k / p:.2f}" for k, p in zip(kiban, pytorch))
    ratio = statistics.median(kiban) / statistics.median(pytorch)
    print(f"{shape:6} {statistics.median(kiban):12.0f} {statistics.median(pytorch):14.0f} {ratio:6.2f}   {each}")
    if ratio < floors.get(shape, 0):
        below.append(f"{shape}: {ratio:.2f}, expected at least {floors[shape]}")
sys.exit("below the floor: " + "; ".join(below) if below else 0)
END
