#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""reference_check.py PROGRAM CASE: runs PROGRAM (reference_run), compares it with PyTorch; exits 1 if they differ."""
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from reference_model import ReferenceModel


class Check:
    def __init__(self):
        self.failures = 0

    def at_most(self, what, value, limit):
        good = value <= limit  # false for NaN
        print(f"{'ok  ' if good else 'FAIL'} {what}: {value:.3g} (at most {limit:g})")
        self.failures += not good


def read(directory, name, dtype):
    return torch.frombuffer(bytearray((directory / name).read_bytes()), dtype=dtype)


def batches_of(directory, case):
    shape = (-1, 2, case["rows"], case["tokens"])
    return [(pair[0], pair[1]) for pair in read(directory, "batches.bin", torch.int64).reshape(shape)]


def positions_of(directory, case):
    """Of each token in its document, a batch at a time; None where rows are attended to as a whole."""
    if not case["documents"]:
        return [None] * case["micro_batches"]
    return list(read(directory, "positions.bin", torch.int64).reshape(-1, case["rows"], case["tokens"]))


def roundings(case, ways):
    """Relative error of a model in bf16: u sqrt(n / 3), n = ten roundings a layer and two of the head, each way; see model_bf16_test.cpp."""
    return 2**-8 * math.sqrt(ways * (10 * case["layers"] + 2) / 3)


def relative_errors(found, expected):
    overall = math.sqrt(sum(tensor.pow(2).sum().item() for tensor in expected.values()))
    errors = {}
    for name, gradient in expected.items():
        measure = expected[name.replace("k.bias", "k.weight")]
        errors[name] = (found[name].double() - gradient).norm().item() / max(measure.norm().item(), 1e-4 * overall)
    return errors


def check_bf16_gradients(directory, case, check):
    """Kiban in bf16 and PyTorch's autocast, both against the model in double: the same bound, and Kiban no worse."""
    values = read(directory, "values.bin", torch.float32)
    batches = batches_of(directory, case)
    targets = sum(int((target >= 0).sum()) for _, target in batches)
    exact, autocast = ReferenceModel(case, values.double()), ReferenceModel(case, values, autocast=True)
    positions = positions_of(directory, case)
    for index, (tokens, target) in enumerate(batches):
        losses = []
        for model in (exact, autocast):
            loss = model.loss_sum(tokens, target, positions[index])
            (loss / targets).backward()
            losses.append(loss.item())
        for kind in ("losses", "evaluation_losses"):
            found = case[kind][index]
            check.at_most(f"{kind}[{index}] to double, relative", abs(found / losses[0] - 1), roundings(case, 1))
            check.at_most(f"{kind}[{index}] to autocast, relative", abs(found / losses[1] - 1), 2 * roundings(case, 1))
    flat = read(directory, "gradients.bin", torch.float32)
    found = {}
    for tensor in case["tensors"]:
        part = flat[tensor["offset"] : tensor["offset"] + math.prod(tensor["shape"])]
        found[tensor["name"]] = part.reshape(tensor["shape"])
    gradients = {name: tensor.grad for name, tensor in exact.tensors.items()}
    kiban = relative_errors(found, gradients)
    pytorch = relative_errors({name: tensor.grad for name, tensor in autocast.tensors.items()}, gradients)
    for name, error in kiban.items():
        check.at_most(f"gradient of {name} to double, relative", error, 2 * roundings(case, 2))
    mean = {who: math.fsum(errors.values()) / len(errors) for who, errors in (("kiban", kiban), ("pytorch", pytorch))}
    print(f"mean error of a gradient: Kiban {mean['kiban']:.3g}, PyTorch's autocast {mean['pytorch']:.3g}")
    check.at_most("mean error over autocast's", mean["kiban"] / mean["pytorch"], 1.25)


def check_gradients(directory, case, check):
    if case["bf16"]:
        return check_bf16_gradients(directory, case, check)
    # The referee computes in double, so that what is measured is Kiban's error alone.
    model = ReferenceModel(case, read(directory, "values.bin", torch.float32).double())
    batches = batches_of(directory, case)
    targets = sum(int((target >= 0).sum()) for _, target in batches)
    positions = positions_of(directory, case)
    for index, (tokens, target) in enumerate(batches):
        loss = model.loss_sum(tokens, target, positions[index])
        objective = loss + case["z_loss"] * model.z_sum(tokens, target) if case["z_loss"] else loss
        (objective / targets).backward()
        for kind in ("losses", "evaluation_losses"):
            check.at_most(f"{kind}[{index}], relative", abs(case[kind][index] / loss.item() - 1), 1e-6)
    logits = model.logits(batches[0][0], positions[0]).detach()
    found = read(directory, "logits.bin", torch.float32).reshape(logits.shape)
    check.at_most("logits, absolute", (found - logits).abs().max().item(), 1e-5)
    gradients = read(directory, "gradients.bin", torch.float32).double()
    overall = math.sqrt(sum(tensor.grad.pow(2).sum().item() for tensor in model.tensors.values()))
    for tensor in case["tensors"]:
        expected = model.tensors[tensor["name"]].grad.reshape(-1)
        found = gradients[tensor["offset"] : tensor["offset"] + expected.numel()]
        # A bias of all keys cancels in the softmax: its gradient is 0, a sum of terms as large as those of the weight.
        measure = model.tensors[tensor["name"].replace("k.bias", "k.weight")].grad
        scale = max(measure.norm().item(), 1e-4 * overall)
        check.at_most(f"gradient of {tensor['name']}, relative", (found - expected).norm().item() / scale, 1e-5)


def check_training(directory, case, check):
    model = ReferenceModel(case, read(directory, "values.bin", torch.float32), autocast=case["bf16"])
    decayed = [model.tensors[t["name"]] for t in case["tensors"] if t["decay"]]
    others = [model.tensors[t["name"]] for t in case["tensors"] if not t["decay"]]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    batches = batches_of(directory, case)
    targets = case["micro_batches"] * case["rows"] * case["tokens"]
    worst_loss, norm_errors = 0.0, []
    for step, (found, found_norm) in enumerate(zip(case["losses"], case["norms"])):
        optimizer.zero_grad()
        loss = 0.0
        for tokens, target in batches[step * case["micro_batches"] : (step + 1) * case["micro_batches"]]:
            part = model.loss_sum(tokens, target) / targets
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(model.tensors.values(), 1.0).item()
        for group in optimizer.param_groups:
            group["lr"] = case["learning_rates"][step]
        optimizer.step()
        worst_loss = max(worst_loss, abs(found / loss - 1)) if math.isfinite(found) else math.inf
        norm_errors.append(abs(found_norm / norm - 1) if math.isfinite(found_norm) else math.inf)
    print(f"loss {case['losses'][0]:.4f} -> {case['losses'][-1]:.4f} in {len(case['losses'])} steps")
    check.at_most("steps missing", abs(len(case["losses"]) - 100), 0)
    check.at_most("last loss over first", case["losses"][-1] / case["losses"][0], 0.6)
    if not case["bf16"]:
        check.at_most("loss of any step, relative", worst_loss, 1e-4)
        check.at_most("gradient norm of any step, relative", max(norm_errors), 1e-2)
        return
    # Both have rounded: two errors. Where the loss is steep (a step's norm is ten times its neighbours'), two paths that differ by
    # roundings part for a step or two, so that single norms say little and their median much.
    check.at_most("loss of any step, relative", worst_loss, 2 * roundings(case, 1))
    check.at_most("gradient norm, median over the steps, relative", statistics.median(norm_errors), 2 * roundings(case, 2))


def check_adamw(directory, case, check):
    files = ("values.bin", "gradients.bin", "updated.bin")
    values, gradients, updated = (read(directory, name, torch.float32) for name in files)
    tensor = values.clone().requires_grad_()
    settings = {"lr": case["learning_rate"], "betas": case["betas"], "eps": case["epsilon"]}
    optimizer = torch.optim.AdamW([tensor], weight_decay=case["weight_decay"], **settings)
    for gradient in gradients.reshape(case["steps"], -1):
        tensor.grad = gradient * case["gradient_scale"]
        optimizer.step()
    change = (tensor.detach() - values).abs().max().item()
    check.at_most("least change of a value over the learning rate, inverse", case["learning_rate"] / change, 1.0)
    difference = (updated - tensor.detach()).abs().max().item()
    check.at_most("updated values over the largest change", difference / change, 1e-5)


def orthogonalised(x):  # Jordan et al. 2024
    x = x / (x.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def check_muon(directory, case, check):
    files = ("values.bin", "gradients.bin", "updated.bin")
    values, gradients, updated = (read(directory, name, torch.float32).double() for name in files)
    momentum, rate = case["momentum"], case["learning_rate"]
    offset = 0
    for rows, cols in case["shapes"]:
        place = slice(offset, offset + rows * cols)
        offset = place.stop
        first, found = values[place].reshape(rows, cols), updated[place].reshape(rows, cols)
        value, buffer = first.clone(), torch.zeros_like(first)
        for gradient in gradients.reshape(case["steps"], -1)[:, place]:
            gradient = case["gradient_scale"] * gradient.reshape(rows, cols)
            buffer = momentum * buffer + gradient
            direction = orthogonalised(gradient + momentum * buffer)
            # Liu et al. 2025: the update of a matrix as large as AdamW's
            value = value * (1 - rate * case["weight_decay"]) - rate * 0.2 * math.sqrt(max(rows, cols)) * direction
        difference = (found - value).norm() / (value - first).norm()
        check.at_most(f"updated [{rows}, {cols}] over its change", difference.item(), 1e-4)


def main():
    program, name = sys.argv[1:]
    check = Check()
    with tempfile.TemporaryDirectory() as path:
        directory = pathlib.Path(path)
        subprocess.run([program, name, path], check=True)
        case = json.loads((directory / "case.json").read_text())
        checks = {"train-gpt2": check_training, "train-llama": check_training}
        checks |= {"adamw": check_adamw, "muon": check_muon}
        checks.get(name.removeprefix("bf16-"), check_gradients)(directory, case, check)
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
