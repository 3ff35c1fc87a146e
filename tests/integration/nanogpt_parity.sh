#!/usr/bin/env bash
# Parity with nanoGPT's published CPU recipe: trains tests/integration/nanogpt_parity.toml and requires a holdout loss of at most 1.90 nats per byte.
#
#   tests/integration/nanogpt_parity.sh TEXT [DIR]   TEXT is tiny Shakespeare (1115394 bytes); DIR keeps the run (default: a temporary one)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kiban=${KIBAN:-$here/../../build/release/bin/kiban}
text=$(readlink -f "$1")
directory=${2:-$(mktemp -d)}
mkdir -p "$directory"
cp "$here/nanogpt_parity.toml" "$directory/run.toml"
"$kiban" pretrain "$directory/run.toml" --run-dir "$directory/run" --set "data.sources.0.path='$text'"
"$kiban" curve "$directory/run" --csv | awk -F, '
    NR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
    { if ($column["eval_loss"] != "") { step = $column["step"]; loss = $column["eval_loss"]; print "step " step " holdout " loss } }
    END { if (step != 2000) { print "expected an evaluation at step 2000, found step " step; exit 1 }
          if (loss + 0 > 1.90) { print "expected a holdout loss of at most 1.90 nats per byte, found " loss; exit 1 }
          print "holdout loss " loss " nats per byte after 2000 steps (nanoGPT publishes 1.88 per character): at most 1.90, good" }'
