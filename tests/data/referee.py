# SPDX-License-Identifier: Apache-2.0
"""Checks a prepared corpus with h5py, knowing only data/FORMAT.md: referee.py MANIFEST TEXT_FILE FRACTION."""
import hashlib
import json
import os
import sys

import h5py
import numpy

manifest_file, text_file, fraction = sys.argv[1], sys.argv[2], float(sys.argv[3])
raw = open(manifest_file, "rb").read()
manifest = json.loads(raw)
assert raw == json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(), "not canonical"
assert (manifest["format"], manifest["version"], manifest["vocabulary"]) == ("kiban corpus", 1, 257)
directory = os.path.dirname(manifest_file)
inputs = open(os.path.join(directory, "inputs.jsonl"), "rb").read()
assert hashlib.sha256(inputs).hexdigest() == manifest["inputs_sha256"]
shards = []
for entry in manifest["shards"]:
    name = os.path.join(directory, entry["file"])
    content = open(name, "rb").read()
    assert len(content) == entry["bytes"] and hashlib.sha256(content).hexdigest() == entry["sha256"], name
    with h5py.File(name, "r") as file:
        assert file.attrs["format"] == b"kiban token shard" and file.attrs["version"] == 1
        assert file.attrs["tokenizer"] == b"bytes" and file.attrs["end_of_document"] == 256
        tokens = file["tokens"]
        assert tokens.dtype == "<u2" and tokens.chunks is None and tokens.shape == (entry["tokens"],)
        assert tokens.id.get_offset() % 4096 == 0
        offsets = file["doc_offsets"][:]
        assert offsets[0] == 0 and offsets[-1] == entry["tokens"] and (numpy.diff(offsets.astype("i8")) > 0).all()
        assert file["doc_id"].shape == (len(offsets) - 1, 16)
        assert len(file["doc_unit"]) == len(file["doc_file"]) == len(file["doc_rec"]) == len(offsets) - 1
        assert len(file["block_xxh3"]) == -(-entry["tokens"] // file.attrs["block_tokens"])
        shards.append(tokens[:])
source = manifest["sources"][0]
stream = {split: numpy.concatenate([shards[s][b:e] for s, b, e in source[split]["segments"]]) for split in ("train", "holdout")}
expected = numpy.append(numpy.fromfile(text_file, dtype="u1").astype("u2"), 256)
held_out = int(fraction * len(expected))
assert (stream["train"] == expected[:len(expected) - held_out]).all() and len(stream["train"]) == source["train"]["tokens"]
assert (stream["holdout"] == expected[len(expected) - held_out:]).all() and len(stream["holdout"]) == held_out
print("agreed on", len(expected), "tokens in", len(shards), "shards")
