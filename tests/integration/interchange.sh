#!/usr/bin/env bash
# Models go out to the ecosystem's form and come back, with an independent reader and model (interchange.py) between.
#
#   KIBAN=.../kiban interchange.sh trained|foreign|tokens llama|gpt2 CHECKPOINT_LOGITS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
way=$1 family=$2 checkpoint_logits=$3
directory=$(mktemp -d "${TMPDIR:-/tmp}/kiban-interchange.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cd "$directory"
export OMP_NUM_THREADS=1
referee() { /usr/bin/python3 "$here/interchange.py" "$@"; }
quietly() { "$@" >log 2>&1 || { cat log; echo "failed: $*"; exit 1; }; }
fail() { echo "$*"; exit 1; }

# Everything of the run but the model, which an import takes from config.json.
cat >data.toml <<TOML
[data]
sequence_length = 24
[[data.sources]]
path = "/usr/share/common-licenses/GPL-2"
[train]
batch_rows = 8
steps = 60
[train.schedule]
warmup_steps = 10
[monitoring]
listen = ""
[launch]
workers = 2
threads_per_worker = 1
TOML

trained() {
    { cat data.toml; printf '[model]\nlayout = "%s"\nlayers = 2\nd_model = 32\nheads = 4\nnorm_epsilon = 2e-5\n' "$family"
      [ "$family" = gpt2 ] || printf 'kv_heads = 2\nrope_theta = 5000.0\n'; } >run.toml
    quietly "$KIBAN" pretrain run.toml --run-dir run --set parallel.tensor=2
    checkpoint=$(echo run/ckpt/step-000000000060-*)
    quietly "$checkpoint_logits" "$checkpoint" case

    "$KIBAN" export run -o exported
    "$KIBAN" export "$checkpoint" -o sharded --shard-bytes 20000
    "$KIBAN" export run -o rounded --dtype bf16
    [ "$(ls sharded/model-*.safetensors | wc -l)" -gt 3 ] || fail "one file where many were to be"
    referee logits exported case
    referee logits sharded case
    referee equal exported sharded
    referee rounded exported rounded

    "$KIBAN" import exported -o imported --config data.toml
    "$KIBAN" export imported -o again
    cmp exported/model.safetensors again/model.safetensors
    cmp exported/config.json again/config.json
    cmp exported/tokenizer_config.json again/tokenizer_config.json
    quietly "$checkpoint_logits" imported/ckpt/step-000000000000-* case_again
    cmp case/logits.bin case_again/logits.bin
    quietly "$KIBAN" verify imported
    continue_training imported
}

foreign() {
    referee make "$family" model
    "$KIBAN" import model -o imported --config data.toml
    quietly "$checkpoint_logits" imported/ckpt/step-000000000000-* case
    referee logits model case
    "$KIBAN" export imported -o exported
    referee logits exported case
    refuse_to_lose imported
    continue_training imported
}

# A run of BPE takes its tokenizer along, and what comes back goes on with the same one.
tokens() {
    { cat data.toml; printf '[model]\nlayout = "%s"\nlayers = 1\nd_model = 32\nheads = 4\n' "$family"; } >run.toml
    quietly "$KIBAN" pretrain run.toml --run-dir run --set data.tokenizer=bpe:400
    checkpoint=$(echo run/ckpt/step-000000000060-*)
    quietly "$checkpoint_logits" "$checkpoint" case
    "$KIBAN" export run -o exported
    cmp corpora/*/tokenizer.json exported/tokenizer.json
    grep -q '"vocab_size": 400' exported/config.json || fail "the vocabulary is another"
    referee logits exported case
    "$KIBAN" import exported -o imported --config data.toml
    rm -r run corpora
    "$KIBAN" export imported -o again
    cmp exported/model.safetensors again/model.safetensors
    cmp exported/tokenizer.json again/tokenizer.json
    quietly "$KIBAN" pretrain imported/run.toml --set train.steps=20
    "$KIBAN" generate imported --prompt "the" --max-tokens 20 --temperature 0 >text
    [ "$(wc -c <text)" -ge 20 ] || { cat text; fail "20 tokens of BPE are 20 bytes or more"; }
}

# What would train other weights than the imported ones is refused.
refuse_to_lose() { # RUN
    cp -r "$1" lost
    rm -r lost/ckpt
    if "$KIBAN" pretrain lost/run.toml --run-dir lost >log 2>&1; then fail "random weights were trained for imported ones"; fi
    grep -q 'its weights came from elsewhere' log || { cat log; fail "another refusal was expected"; }
    [ "$family" = llama ] && return
    if "$KIBAN" pretrain "$1/run.toml" --set data.sequence_length=8 >log 2>&1; then fail "positions were cut"; fi
    grep -q 'data.sequence_length: saved' log || { cat log; fail "another refusal was expected"; }
}

# The first loss is that of the imported weights: the curve begins where its model was, not at ln 257.
continue_training() {
    local first_loss
    quietly "$KIBAN" pretrain "$1/run.toml" --set train.steps=40 --set train.optimizer.learning_rate=0.0005
    grep -q 'resuming from step 0 (exact)' log || { cat log; fail "the import was not continued"; }
    first_loss=$("$KIBAN" curve "$1" --csv | sed -n 2p | cut -d, -f3)
    echo "continued, first loss $first_loss"
    [ "$way" = foreign ] || awk -v loss="$first_loss" 'BEGIN { exit !(loss < 4.8) }' || fail "the first loss is no trained model's"
    quietly "$KIBAN" generate "$1" --prompt "the" --max-tokens 5
}

"$way"
