#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# memory.sh KIBAN PARALLEL_BENCH: the peak memory of a worker (proportional set size, so what workers share counts once) on a
# model of 202 million parameters, beside what `kiban plan` predicts; and a model that one worker may not hold.
#
# Fails when a prediction is off by more than 10 %. Needs 4 GiB of memory.
set -eu
kiban=$1
bench=$2
mpirun=$(dirname "$0")/../support/mpirun.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456 OMP_NUM_THREADS=1
export KIBAN_MPI_TIMEOUT_SECONDS=1200  # three updates of Muon take 15 TFLOP
head -c 30000 /usr/share/common-licenses/GPL-3 >"$dir/text.txt"
cat >"$dir/run.toml" <<'END'
[run]
name = "memory"
[data]
sequence_length = 64
[[data.sources]]
path = "text.txt"
[model]
layout = "gpt2"
layers = 16
d_model = 1024
heads = 16
[train]
batch_rows = 4
micro_batch_rows = 1
[launch]
threads_per_worker = 1
END

number() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" | head -n 1; }
printf '%-44s %10s %10s %8s\n' layout measured planned off
measure() {  # WORKERS key=value...
    workers=$1
    shift
    settings=
    for word in "$@"; do
        case $word in
            checkpointing=2) settings="$settings --set train.activation_checkpointing=full" ;;
            fixed=1) settings="$settings --set train.reduction=fixed" ;;
            muon=1) settings="$settings --set train.optimizer.name=muon" ;;
            *) settings="$settings --set parallel.$word" ;;
        esac
    done
    peak=$("$mpirun" "$workers" "$bench" M200 1 rows=4 micro_rows=1 "$@" 2>/dev/null | number peak_mib)
    # shellcheck disable=SC2086
    planned=$(cd "$dir" && "$kiban" plan run.toml --workers "$workers" $settings --json | number peak_bytes)
    awk -v name="$workers workers $*" -v peak="$peak" -v planned="$planned" 'BEGIN {
        planned /= 1048576
        off = planned / peak - 1
        printf "%-44s %6.0f MiB %6.0f MiB %+7.1f%%\n", name, peak, planned, 100 * off
        exit off > 0.1 || off < -0.1 }'
}
failed=0
for line in "1 zero=3" "2 zero=3" "4 zero=3" "2 zero=0" "2 zero=1" "2 zero=2" "2 tensor=2" "2 pipeline=2" "2 zero=1 fixed=1" \
    "2 zero=3 checkpointing=2" "2 zero=1 muon=1" "2 zero=3 muon=1" "4 zero=3 tensor=2" "4 zero=3 pipeline=2"; do
    # shellcheck disable=SC2086
    measure $line || failed=1
done

echo "under ulimit -d of 2.0 GiB:"
cd "$dir"
for workers in 1 4; do
    code=0
    (ulimit -d 2097152 && "$kiban" pretrain run.toml --run-dir "run$workers" --workers "$workers" --set parallel.zero=3 \
        --set train.steps=3 --set train.schedule.warmup_steps=1 --set launch.launcher=mpirun --set monitoring.listen= \
        --set checkpoint.interval_steps=0 --set train.eval_micro_batch_rows=16) >"output$workers" 2>&1 || code=$?
    echo "$workers worker(s): exit code $code: $(grep -oE 'cannot hold the model.{0,220}|done: .*' "output$workers" | head -n 1)"
    [ "$code" = "$([ "$workers" = 1 ] && echo 78 || echo 0)" ] || { tail -n 20 "output$workers"; failed=1; }
done
exit $failed
