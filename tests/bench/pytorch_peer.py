#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pytorch_peer.py SHAPE STEPS: the training steps of train_bench in PyTorch eager mode, as nanoGPT writes them, with the same GELU."""
import json
import math
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

#          V      L   D    H   T    B
SHAPES = {
    "A": (256, 4, 128, 4, 64, 12),
    "B": (8192, 6, 384, 6, 256, 8),
    "C64": (50304, 12, 768, 12, 64, 4),
    "C256": (50304, 12, 768, 12, 256, 2),
}


class Block(nn.Module):
    def __init__(self, width, heads, tokens):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.gelu, self.down = nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        self.register_buffer("mask", torch.tril(torch.ones(tokens, tokens)).view(1, 1, tokens, tokens))

    def attention(self, x):
        rows, tokens, width = x.shape
        size = width // self.heads
        parts = self.qkv(x).split(width, dim=2)
        q, k, v = (part.view(rows, tokens, self.heads, size).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:, :, :tokens, :tokens] == 0, float("-inf"))
        return self.out((F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(rows, tokens, width))

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(self.gelu(self.up(self.mlp_norm(x))))


class Model(nn.Module):
    def __init__(self, vocabulary, layers, width, heads, tokens):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width, heads, tokens) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, inputs, targets):
        x = self.embedding(inputs) + self.positions(torch.arange(inputs.size(1)))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def main():
    vocabulary, layers, width, heads, tokens, rows = SHAPES[sys.argv[1]]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    model = Model(vocabulary, layers, width, heads, tokens)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))
    times = []
    for _ in range(int(sys.argv[2]) + 3):
        start = time.perf_counter()
        data = torch.randint(vocabulary, (rows, 2, tokens))
        loss = model(data[:, 0].contiguous(), data[:, 1].contiguous())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        times.append(time.perf_counter() - start)
    step = statistics.median(times[3:])
    rate = round(rows * tokens / step, 1)
    result = {"program": "pytorch", "shape": sys.argv[1], "tokens_per_second": rate, "step_ms": round(step * 1e3, 2)}
    print(json.dumps({**result, "loss": round(value, 4)}))


if __name__ == "__main__":
    main()
