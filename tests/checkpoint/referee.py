#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a checkpoint by checkpoint/FORMAT.md alone, with h5py and no code of Kiban, and checks every claim it makes.

usage: referee.py CHECKPOINT_DIRECTORY       prints 'good: FILES TENSORS BOXES' or fails with what is wrong
The elements are compared with the closed form of tests/checkpoint/small_model.cpp.
"""
import hashlib
import json
import os
import struct
import sys

import h5py
import numpy as np

BLOCK = 4 << 20
NUMPY = {"f32": "<f4", "bf16": "<u2", "f64": "<f8", "i64": "<i8", "u8": "<u1"}
TABLE = []
for entry in range(256):
    for _ in range(8):
        entry = (entry >> 1) ^ (0x82F63B78 if entry & 1 else 0)
    TABLE.append(entry)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def fingerprint(indices, bits):
    with np.errstate(over="ignore"):
        u = np.uint64
        z = (indices.astype(u) + u(1)) * u(0x9E3779B97F4A7C15) + bits.astype(u) * u(0xD6E8FEB86659FD93)
        z = (z ^ (z >> u(30))) * u(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u(27))) * u(0x94D049BB133111EB)
        return int((z ^ (z >> u(31))).sum(dtype=u))


def closed_form(name, kind, dtype, step, indices):
    key = sum((name + "/" + kind).encode()) + step * 1000
    # C++ takes the remainder towards zero; key and index are not negative, so the signs agree.
    value = (key * 31 + indices * 7) % 4001 - 2000
    if dtype == "f32":
        return (value / 8).astype("<f4")
    if dtype == "f64":
        return (value / 8).astype("<f8")
    if dtype == "bf16":
        return (value & 0xFFFF).astype("<u2")
    if dtype == "i64":
        return (value * 1000003).astype("<i8")
    return (value & 0xFF).astype("<u1")


def main(directory):
    record = open(os.path.join(directory, "COMMIT"), "rb").read()
    assert len(record) == 116, len(record)
    magic, version, attempt, step, manifest_bytes, shard_bytes, manifest_crc, zero = struct.unpack("<8sIIQQQII", record[:48])
    assert (magic, version, zero) == (b"KIBANCKP", 2, 0), (magic, version, zero)
    assert struct.unpack("<I", record[112:])[0] == crc32c(record[:112]), "own CRC"
    text = open(os.path.join(directory, "MANIFEST.json"), "rb").read()
    assert len(text) == manifest_bytes and crc32c(text) == manifest_crc, "manifest size or CRC"
    assert hashlib.sha256(text).hexdigest().encode() == record[48:112], "manifest SHA-256"
    manifest = json.loads(text)
    assert (manifest["format"], manifest["version"]) == ("kiban-checkpoint", 2)
    assert (manifest["step"], manifest["attempt"], manifest["state"]["step"]) == (step, attempt, step)
    assert os.path.basename(os.path.normpath(directory)) == "step-%012d-a%06d" % (step, attempt)
    files = manifest["files"]
    assert sum(file["bytes"] for file in files) == shard_bytes
    assert sorted(os.listdir(directory)) == sorted(["COMMIT", "MANIFEST.json"] + [file["name"] for file in files])

    datasets = {}  # (file number, tensor, offset) -> what h5py sees
    for number, file in enumerate(files):
        path = os.path.join(directory, file["name"])
        content = open(path, "rb").read()
        assert len(content) == file["bytes"], path
        blocks = [crc32c(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)]
        assert blocks == file["block_crcs"], path + ": block CRCs"
        if file["name"] == "curve.h5":
            check_curve(path, manifest["curve"], number, step)
            continue
        with h5py.File(path, "r") as shard:
            assert shard.attrs["format"] in ("kiban-shard", b"kiban-shard") and shard.attrs["version"] == 1
            assert shard.attrs["writer"] == int(file["name"][6:11])
            shard.visititems(lambda link, item: collect(datasets, number, link, item))

    boxes = 0
    for tensor in manifest["tensors"]:
        name, kind, dtype, shape = tensor["name"], tensor["kind"], tensor["dtype"], tensor["shape"]
        index = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)
        seen = np.zeros(shape, dtype=np.int64)
        total = 0
        for box in tensor["boxes"]:
            dataset = datasets.pop((box["file"], name, kind, tuple(box["offset"]), tuple(box["extent"])))
            assert dataset["shape"] == shape and dataset["dtype"] == dtype, name
            values = dataset["values"]
            assert values.dtype == np.dtype(NUMPY[dtype]), (name, values.dtype)
            assert list(values.shape) == box["extent"], (name, values.shape)
            if values.size:
                assert dataset["at"] == box["file_offset"], (name, dataset["at"], box["file_offset"])
            where = tuple(slice(begin, begin + size) for begin, size in zip(box["offset"], box["extent"]))
            seen[where] += 1
            indices = np.asarray(index[where]).reshape(-1)
            flat = np.asarray(values).reshape(-1)
            assert (flat == closed_form(name, kind, dtype, step, indices)).all(), name
            print_of_box = fingerprint(indices, flat.view("<u%d" % flat.dtype.itemsize))
            assert "%016x" % print_of_box == box["fingerprint"], name
            total = (total + print_of_box) % 2**64
            boxes += 1
        assert (seen == 1).all(), name + " is not stored exactly once"
        assert "%016x" % total == tensor["fingerprint"], name
    assert not datasets, "datasets that the manifest does not know: %s" % list(datasets)
    print("good: %d files, %d tensors, %d boxes" % (len(files), len(manifest["tensors"]), boxes))


def check_curve(path, claims, number, step):
    steps = np.arange(1, step + 1)
    evaluated = np.where(steps % 2 == 0, 7 - steps / 16, np.nan)
    expected = {"step": steps, "tokens": steps * 768, "loss": 8 - steps / 16, "learning_rate": steps / 1024,
                "grad_norm": steps / 4, "eval_loss": evaluated, "step_seconds": np.full(step, 0.25),
                "wall_time": 1700000000.0 + steps, "attempt": np.ones(step),
                "eval_accuracy": np.where(steps % 2 == 0, steps / 1024, np.nan), "eval_targets": np.where(steps % 2 == 0, 4096, 0)}
    types = {"step": "<u8", "tokens": "<u8", "attempt": "<u4", "eval_targets": "<u8"}
    assert claims["file"] == number and claims["rows"] == step, claims
    with h5py.File(path, "r") as curve:
        assert curve.attrs["format"] in ("kiban-curve", b"kiban-curve") and curve.attrs["version"] == 2
        assert sorted(curve) == sorted(expected) == sorted(claims["columns"]), list(curve)
        for name, values in expected.items():
            assert curve[name].dtype == np.dtype(types.get(name, "<f8")), (name, curve[name].dtype)
            assert np.array_equal(curve[name][()], values, equal_nan=True), name
            assert step == 0 or curve[name].id.get_offset() == claims["columns"][name], name


def collect(datasets, number, link, item):
    if not isinstance(item, h5py.Dataset):
        return
    text = lambda key: item.attrs[key].decode() if isinstance(item.attrs[key], bytes) else str(item.attrs[key])
    numbers = lambda key: [int(value) for value in item.attrs[key]]
    assert link.startswith(text("name") + "/" + text("kind") + "."), link
    assert item.chunks is None, "contiguous"
    key = (number, text("name"), text("kind"), tuple(numbers("offset")), tuple(numbers("extent")))
    assert key not in datasets, key
    datasets[key] = {"shape": numbers("global_shape"), "dtype": text("dtype"), "values": item[()], "at": item.id.get_offset()}


main(sys.argv[1])
