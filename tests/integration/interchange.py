# SPDX-License-Identifier: Apache-2.0
"""A referee of `kiban export` and `kiban import` that knows the ecosystem's formats and nothing of Kiban.

    interchange.py logits DIR CASE         computes the logits of CASE/tokens.bin from DIR and requires CASE/logits.bin
    interchange.py equal DIR DIR           requires the same tensors, bit for bit
    interchange.py rounded DIR DIR         requires of the second the first's tensors in bf16, as PyTorch rounds them
    interchange.py make llama|gpt2 DIR     writes a small model of that family as other programs do

The two models are written from the families' published definitions: half-split rotary pairs and grouped heads in Llama, [in, out] projections and
the tanh form of GELU in GPT-2."""
import json
import math
import pathlib
import struct
import sys

import numpy
import torch
import torch.nn.functional as F

DTYPES = {"F32": ("<f4", 4), "BF16": ("<u2", 2), "F16": ("<f2", 2)}


def unique(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), "a name comes twice"
    return dict(pairs)


def read_file(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=unique)
    header.pop("__metadata__", None)
    data = content[8 + length :]
    end = 0
    tensors = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        kind, size = DTYPES[entry["dtype"]]
        assert begin == end and stop - begin == size * math.prod(entry["shape"]), f"{name} does not follow its neighbour"
        end = stop
        tensors[name] = (entry["dtype"], numpy.frombuffer(data[begin:stop], kind).reshape(entry["shape"]))
    assert end == len(data), "bytes behind the last tensor"
    return tensors


def read_tensors(directory):
    directory = pathlib.Path(directory)
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return read_file(directory / "model.safetensors")
    index = json.loads(index.read_text())
    tensors = {}
    for name in sorted(set(index["weight_map"].values())):
        held = read_file(directory / name)
        assert set(held) == {tensor for tensor, file in index["weight_map"].items() if file == name}
        tensors.update(held)
    assert sum(values.nbytes for _, values in tensors.values()) == index["metadata"]["total_size"]
    return tensors


def as_torch(dtype, values):
    if dtype == "BF16":
        values = (values.astype(numpy.uint32) << 16).view(numpy.float32)
    return torch.from_numpy(numpy.array(values, dtype=numpy.float32))


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat([-x[..., half:], x[..., :half]], dim=-1)


def attend(q, k, v):  # [B, H, T, K]
    tokens = q.shape[2]
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def llama_logits(config, tensors, tokens):
    heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    assert config["hidden_act"] == "silu" and config["rope_scaling"] is None and not config["attention_bias"]
    frequencies = 1.0 / config["rope_theta"] ** (torch.arange(0, size, 2).double() / size)
    angles = torch.outer(torch.arange(tokens.shape[1]).double(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    cos, sin = angles.cos().float(), angles.sin().float()

    def norm(x, name):
        return tensors[name] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]))

    def project(x, name, count):
        return F.linear(x, tensors[name]).view(*x.shape[:2], count, size).transpose(1, 2)

    x = tensors["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        y = norm(x, at + "input_layernorm.weight")
        q, k, v = (project(y, at + f"self_attn.{n}_proj.weight", c) for n, c in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
        q, k = (t * cos + rotate_half(t) * sin for t in (q, k))
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        x = x + F.linear(attend(q, k, v), tensors[at + "self_attn.o_proj.weight"])
        y = norm(x, at + "post_attention_layernorm.weight")
        gate = F.silu(F.linear(y, tensors[at + "mlp.gate_proj.weight"]))
        x = x + F.linear(gate * F.linear(y, tensors[at + "mlp.up_proj.weight"]), tensors[at + "mlp.down_proj.weight"])
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return F.linear(norm(x, "model.norm.weight"), tensors[head])


def gpt2_logits(config, tensors, tokens):
    assert config["activation_function"] == "gelu_new" and config["tie_word_embeddings"]
    tensors = {name.removeprefix("transformer."): values for name, values in tensors.items()}
    width, heads = config["n_embd"], config["n_head"]

    def norm(x, name):
        return F.layer_norm(x, (width,), tensors[name + ".weight"], tensors[name + ".bias"], config["layer_norm_epsilon"])

    def conv1d(x, name):  # the weight is [in, out]
        return x @ tensors[name + ".weight"] + tensors[name + ".bias"]

    def gelu_new(x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3))))

    x = tensors["wte.weight"][tokens] + tensors["wpe.weight"][: tokens.shape[1]]
    for layer in range(config["n_layer"]):
        at = f"h.{layer}."
        parts = conv1d(norm(x, at + "ln_1"), at + "attn.c_attn").split(width, dim=2)
        q, k, v = (p.view(*x.shape[:2], heads, width // heads).transpose(1, 2) for p in parts)
        x = x + conv1d(attend(q, k, v), at + "attn.c_proj")
        x = x + conv1d(gelu_new(conv1d(norm(x, at + "ln_2"), at + "mlp.c_fc")), at + "mlp.c_proj")
    return F.linear(norm(x, "ln_f"), tensors["wte.weight"])


def check_logits(directory, case):
    directory, case = pathlib.Path(directory), pathlib.Path(case)
    config = json.loads((directory / "config.json").read_text())
    tensors = {name: as_torch(*held) for name, held in read_tensors(directory).items()}
    shape = json.loads((case / "case.json").read_text())
    shape = (shape["rows"], shape["tokens_per_row"])
    tokens = torch.from_numpy(numpy.fromfile(case / "tokens.bin", numpy.int64).reshape(shape))
    model = {"llama": llama_logits, "gpt2": gpt2_logits}[config["model_type"]]
    expected = model(config, tensors, tokens)
    found = torch.from_numpy(numpy.fromfile(case / "logits.bin", numpy.float32)).reshape(expected.shape)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"{len(tensors)} tensors, largest logit {expected.abs().max().item():.4f}, largest relative difference {difference:.2e}")
    assert len(tensors) > 10 and expected.abs().max() > 0.1 and difference <= 1e-5


def check_equal(one, other):
    one, other = read_tensors(one), read_tensors(other)
    assert list(sorted(one)) == list(sorted(other)), "other names"
    for name in one:
        assert one[name][0] == other[name][0] and numpy.array_equal(one[name][1].view("u1"), other[name][1].view("u1")), name
    print(f"{len(one)} tensors are equal, bit for bit")


def check_rounded(exact, rounded):
    exact, rounded = read_tensors(exact), read_tensors(rounded)
    assert set(exact) == set(rounded)
    for name, (dtype, values) in exact.items():
        assert dtype == "F32" and rounded[name][0] == "BF16"
        assert torch.equal(torch.from_numpy(values.copy()).bfloat16().float(), as_torch(*rounded[name])), name
    print(f"{len(exact)} tensors are rounded as PyTorch rounds them")


def write_file(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, values) in tensors.items():
        content = values.tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def random_tensors(shapes, dtype):
    generator = numpy.random.default_rng(7)
    tensors = {}
    for name, shape in shapes.items():
        values = generator.normal(1.0 if "norm" in name or "ln_" in name else 0.0, 0.2, shape).astype(numpy.float32)
        if dtype == "BF16":
            tensors[name] = (dtype, (values.view(numpy.uint32) >> 16).astype(numpy.uint16))
        else:
            tensors[name] = (dtype, values.astype(numpy.float16))
    return tensors


def make_llama(directory, width=32, hidden=56, heads=4, kv_heads=2, layers=2, vocabulary=257):
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        small = kv_heads * width // heads
        shapes.update({at + "input_layernorm.weight": (width,), at + "post_attention_layernorm.weight": (width,)})
        shapes.update({at + f"self_attn.{n}_proj.weight": (r, width) for n, r in zip("qkvo", (width, small, small, width))})
        shapes.update({at + "mlp.gate_proj.weight": (hidden, width), at + "mlp.up_proj.weight": (hidden, width)})
        shapes[at + "mlp.down_proj.weight"] = (width, hidden)
        shapes[at + "self_attn.rotary_emb.inv_freq"] = (width // heads // 2,)  # as older files have it
    tensors = random_tensors(shapes, "BF16")
    names = list(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        write_file(directory / file, {name: tensors[name] for name in held}, {"format": "pt"})
    index = {"metadata": {"total_size": sum(values.nbytes for _, values in tensors.values())}}
    index["weight_map"] = {name: file for file, held in parts.items() for name in held}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return {"model_type": "llama", "hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "head_dim": width // heads, "vocab_size": vocabulary, "max_position_embeddings": 24,
            "rms_norm_eps": 1e-6, "rope_theta": 500000.0, "rope_scaling": None, "hidden_act": "silu", "attention_bias": False,
            "tie_word_embeddings": True, "torch_dtype": "bfloat16"}


def make_gpt2(directory, width=32, heads=4, layers=2, vocabulary=257, positions=24):
    shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (positions, width), "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for layer in range(layers):
        at = f"h.{layer}."
        shapes.update({at + f"ln_{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")})
        for name, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width), ("mlp.c_fc", width, 4 * width),
                                    ("mlp.c_proj", 4 * width, width)):
            shapes.update({at + name + ".weight": (rows, columns), at + name + ".bias": (columns,)})
        shapes[at + "attn.bias"] = (1, 1, positions, positions)  # the causal mask, as older files have it
    tensors = random_tensors(shapes, "F16")
    tensors["lm_head.weight"] = tensors["wte.weight"]
    write_file(directory / "model.safetensors", tensors, {"format": "pt"})
    return {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": positions, "vocab_size": vocabulary,
            "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "torch_dtype": "float16"}


def make(family, directory):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    config = {"llama": make_llama, "gpt2": make_gpt2}[family](directory)
    (directory / "config.json").write_text(json.dumps(config, indent=2))


commands = {"logits": check_logits, "equal": check_equal, "rounded": check_rounded, "make": make}
commands[sys.argv[1]](*sys.argv[2:])
