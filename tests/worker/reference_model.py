# SPDX-License-Identifier: Apache-2.0
"""The two transformer shapes in plain PyTorch, written from their papers, to referee the C++ model."""
import math

import torch
import torch.nn.functional as F


def turn(x, theta, positions):  # x [B, H, T, K], positions [B, T]; Su et al. 2021, component i with i + K/2
    size = x.shape[-1]
    frequencies = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = positions.double()[:, None, :, None] * frequencies
    turns = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.complex(x[..., : size // 2].double(), x[..., size // 2 :].double()) * turns
    return torch.cat([pairs.real, pairs.imag], dim=-1).to(x.dtype)


class ReferenceModel:
    def __init__(self, case, values, autocast=False):
        self.case = case
        self.autocast = autocast  # matrix products in bf16, as torch.autocast has it
        self.tensors = {}
        for tensor in case["tensors"]:
            count = math.prod(tensor["shape"])
            flat = values[tensor["offset"] : tensor["offset"] + count]
            self.tensors[tensor["name"]] = flat.reshape(tensor["shape"]).clone().requires_grad_()

    def linear(self, x, name):
        return F.linear(x, self.tensors[name + ".weight"], self.tensors.get(name + ".bias"))

    def norm(self, x, name):
        weight, bias = self.tensors[name + ".weight"], self.tensors.get(name + ".bias")
        epsilon = self.case["norm_epsilon"]
        if bias is not None:
            return F.layer_norm(x, weight.shape, weight, bias, epsilon)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight

    def attention(self, x, name, positions):
        heads, kv_heads = self.case["heads"], self.case["kv_heads"]
        rows, tokens, width = x.shape
        size = width // heads
        q = self.linear(x, name + ".q").view(rows, tokens, heads, size).transpose(1, 2)
        k = self.linear(x, name + ".k").view(rows, tokens, kv_heads, size).transpose(1, 2)
        v = self.linear(x, name + ".v").view(rows, tokens, kv_heads, size).transpose(1, 2)
        if self.case["layout"] == "llama":
            q, k = (turn(heads_of, self.case["rope_theta"], positions) for heads_of in (q, k))
        k = k.repeat_interleave(heads // kv_heads, dim=1)
        v = v.repeat_interleave(heads // kv_heads, dim=1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(size)
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        documents = (positions == 0).cumsum(-1)  # a number for each
        others = documents[:, :, None] != documents[:, None, :]
        weights = torch.softmax(scores.masked_fill(future | others[:, None], float("-inf")), dim=-1)
        return self.linear((weights @ v).transpose(1, 2).reshape(rows, tokens, width), name + ".o")

    def mlp(self, x, name):
        if self.case["layout"] == "llama":
            return self.linear(F.silu(self.linear(x, name + ".gate")) * self.linear(x, name + ".up"), name + ".down")
        up = self.linear(x, name + ".up")
        gelu = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        return self.linear(gelu, name + ".down")

    def logits(self, tokens, positions=None):  # positions in their documents; None: each row is one
        if positions is None:
            positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.network(tokens, positions)
        return logits.float() if self.autocast else logits

    def network(self, tokens, positions):
        x = self.tensors["embedding.weight"][tokens]
        if self.case["layout"] == "gpt2":
            x = x + self.tensors["positions.weight"][positions]
        for layer in range(self.case["layers"]):
            name = f"layers.{layer}"
            x = x + self.attention(self.norm(x, name + ".attention_norm"), name + ".attention", positions)
            x = x + self.mlp(self.norm(x, name + ".mlp_norm"), name + ".mlp")
        head = self.tensors.get("head.weight", self.tensors["embedding.weight"])
        return F.linear(self.norm(x, "norm"), head)

    def loss_sum(self, tokens, targets, positions=None):
        logits = self.logits(tokens, positions)
        rows = logits.reshape(-1, logits.shape[-1])
        return F.cross_entropy(rows, targets.reshape(-1), ignore_index=-1, reduction="sum")

    def z_sum(self, tokens, targets):  # Chowdhery et al. 2022, section 5: log^2 Z, summed over the targets
        return torch.logsumexp(self.logits(tokens), dim=-1)[targets >= 0].square().sum()
