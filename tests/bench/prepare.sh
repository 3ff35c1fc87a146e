#!/usr/bin/env bash
# `kiban prepare` with two workers, from compressed JSONL to shards that are filtered, without near duplicates and
# anonymised: prepare.sh PRIVACY_BENCH [MB of text]; KIBAN names the executable.
# The text is what this machine has: most of it is no prose. Once with a filter for prose, once with one that keeps
# nearly all, so that it is all scanned and written. Prints MB of text a second, by the clock and by processor time on
# two cores (the machine may be busy with other things); fails below 30.
set -euo pipefail
bench=$1
megabytes=${2:-300}
work=$(mktemp -d "${TMPDIR:-/tmp}/prepare-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
bytes=$("$bench" write "$work/in" "$megabytes" /usr/share /usr/include /usr/lib/python3 /usr/lib/x86_64-linux-gnu)

prose='min_words = 50
max_words = 100000
min_word_length = 3.0
max_word_length = 10.0
max_symbols = 0.1
max_bullet_lines = 0.9
max_ellipsis_lines = 0.3
min_letter_words = 0.8
min_stop_words = 2
max_repeated_lines = 0.3
max_repeated_line_bytes = 0.2'
nearly_all='min_words = 1
max_symbols = 10.0
max_ellipsis_lines = 0.9'

prepare() { # NAME FILTER
    cat >"$work/$1.toml" <<TOML
[run]
name = "bench-$1"
dir = "$work/$1"
[data]
tokenizer = "bytes"
[[data.sources]]
path = "$work/in"
[data.clean]
normalise = "text"
deduplicate = "near"
[data.clean.filter]
$2
[data.clean.anonymise]
all = "redact"
[launch]
workers = 2
threads_per_worker = 1
TOML
    TIMEFORMAT='%R %U %S'
    local used wall user system
    used=$({ time "$KIBAN" prepare "$work/$1.toml" >"$work/log" 2>&1; } 2>&1) || { cat "$work/log" >&2; exit 1; }
    read -r wall user system <<<"$used"
    tail -n 1 "$work/log"
    awk -v name="$1" -v bytes="$bytes" -v wall="$wall" -v user="$user" -v system_="$system" 'BEGIN {
        rate = bytes / 1e6 / ((user + system_) / 2)
        printf "prepare %.0f MB of text, %s: %.1f s, %.1f MB/s by the clock, %.1f by processor time on two cores\n",
               bytes / 1e6, name, wall, bytes / 1e6 / wall, rate
        exit rate >= 30 ? 0 : 1
    }' || { echo "MISSED: at least 30 MB/s" >&2; status=1; }
}

status=0
prepare prose "$prose"
prepare nearly-all "$nearly_all"
exit $status
