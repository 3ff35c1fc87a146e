#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# scaling.sh PARALLEL_BENCH [ROUNDS] [SHAPE ...]: what two workers of one thread reach of one worker of two threads, what
# fixed reduction costs, and ZeRO-3 against ZeRO-1, all with the same global batch; medians of interleaved rounds.
#
# Fails when two workers reach less than 0.95, or ZeRO-3 less than 0.80 of ZeRO-1 on C256. Fixed reduction is measured on
# two workers with four micro-batches each, where it sums a tree of them; its goal is at most 5 %.
set -eu
bench=$1
rounds=${2:-3}
[ $# -gt 2 ] && shift 2 && shapes=$* || shapes="A B C64 C256"
mpirun=$(dirname "$0")/../support/mpirun.sh
results=$(mktemp)
trap 'rm -f "$results"' EXIT
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456

steps_of() { case $1 in A) echo 150 ;; B) echo 10 ;; C64) echo 8 ;; *) echo 5 ;; esac; }
measure() {  # NAME SHAPE WORKERS THREADS key=value...
    name=$1 shape=$2 workers=$3 threads=$4
    shift 4
    line=$(OMP_NUM_THREADS=$threads "$mpirun" "$workers" "$bench" "$shape" "$(steps_of "$shape")" "$@" 2>/dev/null | grep '^{')
    echo "$shape $name $(echo "$line" | sed 's/.*"tokens_per_second": \([0-9.]*\).*/\1/')"
}

echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, tokens/s"
round=1
while [ "$round" -le "$rounds" ]; do
    for shape in $shapes; do
        measure 1x2 "$shape" 1 2
        measure 2x1 "$shape" 2 1
        case $shape in
            A) measure fast "$shape" 2 1 rows=96 micro_rows=12; measure fixed "$shape" 2 1 rows=96 micro_rows=12 fixed=1 ;;
            B) measure fast "$shape" 2 1 rows=16 micro_rows=2; measure fixed "$shape" 2 1 rows=16 micro_rows=2 fixed=1 ;;
            C256) measure zero3 "$shape" 2 1 zero=3
                measure fast "$shape" 2 1 rows=8 micro_rows=1; measure fixed "$shape" 2 1 rows=8 micro_rows=1 fixed=1 ;;
        esac
    done | tee -a "$results"
    round=$((round + 1))
done

awk '
    { rates[$1, $2] = rates[$1, $2] " " $3; shapes[$1] = 1 }
    function median(text, n, values, i, j, swap) {
        n = split(text, values, " ")
        for (i = 1; i < n; i++) for (j = i + 1; j <= n; j++) if (values[j] + 0 < values[i] + 0) { swap = values[i]; values[i] = values[j]; values[j] = swap }
        return values[int((n + 1) / 2)]
    }
    function report(shape, a, b, floor, ratio) {
        if (!((shape, a) in rates)) return
        ratio = median(rates[shape, a]) / median(rates[shape, b])
        printf "%-5s %5s / %-4s %10.1f / %10.1f = %.3f%s\n", shape, a, b, median(rates[shape, a]), median(rates[shape, b]), ratio, (ratio < floor ? "  below " floor : "")
        if (ratio < floor) failed = 1
    }
    END {
        for (shape in shapes) { report(shape, "2x1", "1x2", 0.95); report(shape, "zero3", "2x1", 0.80); report(shape, "fixed", "fast", 0) }
        exit failed
    }' "$results"
