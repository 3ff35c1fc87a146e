#!/usr/bin/env bash
# The house rules that a machine can check, over the tree given (default: this repository):
#   arrows    includes between rooms go one way: monitoring <- data <- checkpoint <- coordinator <- worker;
#             hdf5.h only in data/h5.h, MPI and LibTorch only in worker/, LibTorch's version only in worker/torch_compat.h
#   headers   a source includes its own header first, so that the header is known to compile alone
#   budget    sources at most 400 lines, headers 250, functions 60; tests/house/exceptions.txt lists what may be longer, and why
#   words     no assert, no TODO, no skipped or disabled test
#   pitfalls  the tests that tests/data/PITFALLS.md names exist
#   shells    no system() and no popen(): programs are started with a list of arguments; no eval in slurm/
# Prints each breach as file:line: what was expected; exits 1 when there is one.
set -euo pipefail
tree=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree"
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

rooms=(monitoring data checkpoint coordinator worker)
mapfile -t sources < <(find "${rooms[@]}" tests -name '*.cpp' -o -name '*.h' | sort)

check_arrows() {
    local i later forbidden
    for i in 0 1 2 3; do
        later=("${rooms[@]:i+1}")
        forbidden=$(IFS='|'; echo "${later[*]}")
        grep -rnE "#include \"($forbidden)/" --include='*.cpp' --include='*.h' "${rooms[i]}" |
            sed 's/$/   <- an include against the arrows/' || true
        grep -rnE '#include [<"](torch|ATen|c10|mpi)[./]' --include='*.cpp' --include='*.h' "${rooms[i]}" |
            sed 's/$/   <- LibTorch and MPI live in worker\/ only/' || true
    done
    grep -rnE '#include [<"]hdf5' --include='*.cpp' --include='*.h' "${rooms[@]}" | grep -v '^data/h5\.h:' |
        sed 's/$/   <- HDF5 is included by data\/h5.h only/' || true
    grep -rnE '#.*if.*TORCH_VERSION' --include='*.cpp' --include='*.h' "${rooms[@]}" | grep -v '^worker/torch_compat\.h:' |
        sed 's/$/   <- versions of LibTorch are told apart in worker\/torch_compat.h only/' || true
}

# A header compiles alone when its own source includes it first; headers without one are compiled by tests/house/CMakeLists.txt.
check_own_header_first() {
    local source header first
    for source in "${sources[@]}"; do
        header=${source%.cpp}.h
        [ "$source" != "$header" ] && [ -f "$header" ] || continue
        first=$(grep -m 1 '^#include' "$source" || true)
        [ "$first" = "#include \"$header\"" ] || echo "$source:1: expected its own header as first include, found '$first'"
    done
}

# Prints "kind file:line length name" for every file and function over its budget.
measure() {
    awk '
        function flush_file() {
            if (previous == "") return
            limit = previous ~ /\.h$/ ? 250 : 400
            if (lines > limit) printf "file %s:1 %d %d\n", previous, lines, limit
        }
        FNR == 1 { flush_file(); previous = FILENAME; start = 0 }
        { lines = FNR }
        start == 0 && /^(    )?[^ #\/}].*(\)|const|noexcept|override|-> [a-zA-Z_:<>]+) *\{$/ && !/^ *(namespace|struct|class|enum|if|for|while|switch|else|do|extern)[ (]/ && !/^ *(TEST|TEST_F|TEST_P)\(/ {
            start = FNR; indent = match($0, /[^ ]/) - 1; text = $0
        }
        start > 0 && $0 ~ /^ *\}/ && match($0, /[^ ]/) - 1 == indent {
            if (FNR - start + 1 > 60) printf "function %s:%d %d 60\n", FILENAME, start, FNR - start + 1
            start = 0
        }
        END { flush_file() }' "${sources[@]}"
}

check_budget() {
    local exceptions=tests/house/exceptions.txt kind place length limit file
    declare -A allowed=() used=()
    if [ -f $exceptions ]; then
        while read -r kind file length _; do
            case $kind in '' | '#'*) continue ;; esac
            allowed["$kind $file"]=$length
        done <$exceptions
    fi
    while read -r kind place length limit; do
        file=${place%:*}
        if [ "$length" -le "${allowed["$kind $file"]:-0}" ]; then
            used["$kind $file"]=yes
            continue
        fi
        echo "$place: this $kind has $length lines, expected at most ${allowed["$kind $file"]:-$limit}"
    done < <(measure)
    for file in "${!allowed[@]}"; do
        [ "${used[$file]:-}" ] || echo "$exceptions: the exception for '$file' is no longer needed"
    done
}

check_words() {
    grep -nE '(^|[^_a-z])assert\(|#include <cassert>' "${sources[@]}" | grep -v static_assert |
        sed 's/$/   <- KIBAN_CHECK instead of assert/' || true
    grep -nE 'TODO|FIXME|GTEST_SKIP|DISABLED_|EXPECT_TRUE\(true\)' "${sources[@]}" |
        sed 's/$/   <- nothing unfinished, no test that does not test/' || true
    grep -LE 'SPDX-License-Identifier: Apache-2.0' "${sources[@]}" | sed 's/$/:1: expected the licence line/' || true
}

check_shells() {
    grep -rnE '(^|std::|::|[=({;!]) *(system|popen)\(' --include='*.cpp' --include='*.h' "${rooms[@]}" |
        sed 's/$/   <- a list of arguments instead of a shell/' || true
    grep -rnE '\beval\b|(ba)?sh -c' slurm 2>/dev/null | grep -v '^slurm/test_cluster\.sh:' |
        sed 's/$/   <- no shell is made from words that somebody wrote/' || true
}

# Every test that the table of pitfalls names is there.
check_pitfalls() {
    local table=tests/data/PITFALLS.md names suite name
    [ -f "$table" ] || return 0
    names=$(grep -oE '`[A-Z][A-Za-z0-9]*\.[A-Z][A-Za-z0-9_]*`' "$table" | tr -d '`' | sort -u) ||
        { echo "$table: expected names of tests, found none"; return 0; }
    while IFS=. read -r suite name; do
        grep -rqE "TEST(_F|_P)?\\($suite, $name\\)" tests || echo "$table: expected a test $suite.$name, found none"
    done <<<"$names"
}

{ check_arrows; check_own_header_first; check_budget; check_words; check_shells; check_pitfalls; } >"$breaches"
if [ -s "$breaches" ]; then
    cat "$breaches"
    echo "house: $(wc -l <"$breaches") breaches"
    exit 1
fi
echo "house: ${#sources[@]} files keep the rules"
