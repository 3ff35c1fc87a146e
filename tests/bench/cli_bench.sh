#!/usr/bin/env bash
# How long `kiban` takes to answer: medians of --help, status and refusals in milliseconds, start of the process included. Goal: below 100 each.
#
#   tests/bench/cli_bench.sh [RUN_DIR]     status is that of this run (default: one made here); KIBAN names the executable; ROUNDS (default 21)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
rounds=${ROUNDS:-21}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
printf '[[data.sources]]\npath = "x"\n[model]\nheads = 5\n' >"$directory/heads.toml"
printf '[[data.sources]]\npath = "x"\n[train]\nstep = 5\n' >"$directory/key.toml"

worst=0
measure() {  # NAME EXPECTED_EXIT_CODE ARGUMENT...
    local name=$1 expected=$2 start code median
    shift 2
    median=$(for _ in $(seq "$rounds"); do
        start=$(date +%s%N) code=0
        "$kiban" "$@" >/dev/null 2>&1 || code=$?
        [ "$code" = "$expected" ] || { echo "kiban $*: expected exit code $expected, found $code" >&2; exit 1; }
        echo $((($(date +%s%N) - start) / 1000))
    done | sort -n | sed -n "$((rounds / 2 + 1))p")
    printf '%-28s %5d.%d ms\n' "$name" $((median / 1000)) $((median % 1000 / 100))
    if [ "$median" -gt "$worst" ]; then worst=$median; fi
}

measure "--help" 0 --help
measure "pretrain --help" 0 pretrain --help
measure "refusal: no such file" 78 pretrain "$directory/none.toml"
measure "refusal: unknown key" 78 pretrain "$directory/key.toml"
measure "refusal: heads" 78 pretrain "$directory/heads.toml"
measure "refusal: unknown command" 64 pretrian
if [ $# -eq 0 ]; then
    printf '[[data.sources]]\npath = "/usr/share/common-licenses/GPL-3"\n[model]\nlayers = 1\nd_model = 32\nheads = 2\n' >"$directory/run.toml"
    "$kiban" pretrain "$directory/run.toml" --run-dir "$directory/run" --workers 1 --set train.steps=50 --set train.schedule.warmup_steps=5 \
        --set monitoring.listen= >"$directory/log" 2>&1 || { cat "$directory/log" >&2; exit 1; }
    set -- "$directory/run"
fi
measure "status" 0 status "$1"
[ "$worst" -lt 100000 ] || { echo "expected every median below 100 ms" >&2; exit 1; }
