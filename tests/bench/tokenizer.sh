#!/usr/bin/env bash
# Tokenizers on real text: tokenizer.sh TOKENIZER_BENCH [MB of English]
#   English    the documentation of this machine (/usr/share/doc, the manual pages): encoding with a vocabulary of 50257
#   kernel     1 GB of Debian's package linux-source: training of bpe:32768
set -euo pipefail
bench=$1
megabytes=${2:-200}
work=$(mktemp -d "${TMPDIR:-/tmp}/tokenizer-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

# `head` ends its writers early, and some manual pages are no gzip: what counts is that the text is all there.
set +o pipefail
{
    find /usr/share/doc /usr/share/man -type f -name '*.gz' -print0 | sort -z | xargs -0 zcat -q 2>/dev/null
    find /usr/share/doc /usr/share/perl -type f ! -name '*.gz' ! -name '*.png' -print0 | sort -z | xargs -0 cat
} | head -c "${megabytes}000000" >"$work/english"
needs() { # FILE BYTES
    [ "$(stat -c %s "$1")" -ge "$2" ] || { echo "tokenizer.sh: expected $2 bytes of text, found $(stat -c %s "$1")" >&2; exit 1; }
}
needs "$work/english" 20000000
echo "English: $(stat -c %s "$work/english") bytes"
status=0
"$bench" "$work/english" || status=1

kernel=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' | sort | tail -n 1)
if [ -z "$kernel" ]; then
    echo "tokenizer.sh: the text to train on is missing: apt-get install linux-source-6.1" >&2
    exit 1
fi
tar -xOJf "$kernel" 2>/dev/null | head -c 1000000000 >"$work/kernel"
needs "$work/kernel" 1000000000
"$bench" "$work/kernel" train || status=1
exit $status
