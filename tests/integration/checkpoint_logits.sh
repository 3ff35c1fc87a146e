#!/usr/bin/env bash
# An independent PyTorch computes the same logits from the HDF5 files of a trained checkpoint as Kiban's model.
#
#   KIBAN=.../kiban checkpoint_logits.sh LAYOUT CHECKPOINT_LOGITS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
directory=$(mktemp -d "${TMPDIR:-/tmp}/kiban-logits.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cat >"$directory/run.toml" <<TOML
[data]
sequence_length = 32
[[data.sources]]
path = "/usr/share/common-licenses/GPL-2"
[model]
layout = "$1"
layers = 2
d_model = 32
heads = 4
[train]
batch_rows = 8
steps = 50
[train.schedule]
warmup_steps = 10
[monitoring]
listen = ""
[launch]
workers = 2
threads_per_worker = 1
TOML
"$KIBAN" pretrain "$directory/run.toml" --run-dir "$directory/run" >"$directory/run.log" 2>&1 || { cat "$directory/run.log"; exit 1; }
checkpoint=$(ls -d "$directory"/run/ckpt/step-000000000050-*)
OMP_NUM_THREADS=1 "$2" "$checkpoint" "$directory/logits"
/usr/bin/python3 "$here/checkpoint_logits.py" "$checkpoint" "$directory/logits"
