# SPDX-License-Identifier: Apache-2.0
"""checkpoint_logits.py CHECKPOINT DIR: reads the weights from the checkpoint's HDF5 files with h5py, knowing only checkpoint/FORMAT.md, computes the
logits of DIR/tokens.bin with the independent PyTorch model, and requires Kiban's DIR/logits.bin within 1e-5 of the largest logit."""
import glob
import json
import pathlib
import sys

import h5py
import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from reference_model import ReferenceModel  # noqa: E402


def weights_of(checkpoint):
    tensors = {}
    for name in sorted(glob.glob(f"{checkpoint}/shard-*.h5")):
        with h5py.File(name, "r") as shard:

            def add(_, item):
                if not isinstance(item, h5py.Dataset) or item.attrs["kind"] not in (b"param", "param"):
                    return
                text = item.attrs["name"]
                text = text.decode() if isinstance(text, bytes) else text
                shape = [int(n) for n in numpy.atleast_1d(item.attrs["global_shape"])]
                offset = [int(n) for n in numpy.atleast_1d(item.attrs["offset"])]
                whole = tensors.setdefault(text, numpy.full(shape, numpy.nan, numpy.float32))
                whole[tuple(slice(o, o + n) for o, n in zip(offset, item.shape))] = item[...]

            shard.visititems(add)
    for name, values in tensors.items():
        if numpy.isnan(values).any():
            sys.exit(f"the boxes of {name} do not cover it")
    return tensors


checkpoint, directory = sys.argv[1], pathlib.Path(sys.argv[2])
case = json.loads((directory / "case.json").read_text())
model = ReferenceModel({**case, "tensors": []}, None)
model.tensors = {name: torch.from_numpy(values) for name, values in weights_of(checkpoint).items()}
shape = (case["rows"], case["tokens_per_row"])
tokens = torch.from_numpy(numpy.fromfile(directory / "tokens.bin", numpy.int64).reshape(shape))
expected = model.logits(tokens).detach()
found = torch.from_numpy(numpy.fromfile(directory / "logits.bin", numpy.float32)).reshape(expected.shape)
difference = ((found - expected).abs().max() / expected.abs().max()).item()
print(f"{len(model.tensors)} tensors, largest logit {expected.abs().max().item():.4f}, largest relative difference {difference:.2e}")
sys.exit(0 if len(model.tensors) > 10 and difference <= 1e-5 else 1)
