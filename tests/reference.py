"""AIM in float64, written out in the most obvious way and from the paper alone: nothing here is the package's own.

Every function takes a plain dict of the model's tensors. Loops run over patches, images, heads and queries; only
allowed keys are ever looked at. Differentiable, so that gradients can be compared too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

EPS = 1e-6
State = Mapping[str, Tensor]


def patchify(images: Tensor, p: int) -> Tensor:
    """[batch, patches, values]: patches row by row; inside a patch row, column, channel."""
    _, channels, height, width = images.shape
    patches = []
    for top in range(0, height, p):
        for left in range(0, width, p):
            values = [
                images[:, c, top + row, left + column]
                for row in range(p)
                for column in range(p)
                for c in range(channels)
            ]
            patches.append(torch.stack(values, dim=1))
    return torch.stack(patches, dim=1)


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of the column, then of the row; the values are those of a float32 table."""
    table = []
    for row in range(rows):
        for column in range(columns):
            line = []
            for where in (column, row):
                angles = [where / 10000 ** (i / (dim / 4)) for i in range(dim // 4)]
                line += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            table.append(line)
    return torch.tensor(table, dtype=torch.float64).float().double()


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS) * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    out = x @ state[f"{name}.weight"].T
    return out + state[f"{name}.bias"] if f"{name}.bias" in state else out


def mlp(state: State, name: str, x: Tensor) -> Tensor:
    h = linear(state, f"{name}.fc1", x)
    return linear(state, f"{name}.fc2", h * 0.5 * (1 + torch.erf(h / math.sqrt(2))))


def allowed(mode: str, prefix_len: list[int], length: int) -> list[list[list[bool]]]:
    """May query i of the image attend key k?"""

    def may(i: int, k: int, s: int) -> bool:
        return {"bidirectional": True, "causal": k <= i, "prefix": k <= i or k < s}[mode]

    return [[[may(i, k, s) for k in range(length)] for i in range(length)] for s in prefix_len]


def attention(state: State, name: str, x: Tensor, heads: int, may: list[list[list[bool]]]) -> Tensor:
    batch, length, dim = x.shape
    width = dim // heads
    q, k, v = linear(state, f"{name}.qkv", x).split(dim, dim=-1)
    images = []
    for b in range(batch):
        outputs = []
        for i in range(length):
            keys = [key for key in range(length) if may[b][i][key]]
            parts = []
            for h in range(heads):
                own = slice(h * width, (h + 1) * width)
                scores = k[b, keys, own] @ q[b, i, own] / math.sqrt(width)
                weights = scores.exp() / scores.exp().sum()
                parts.append(weights @ v[b, keys, own])
            outputs.append(torch.cat(parts))
        images.append(torch.stack(outputs))
    return linear(state, f"{name}.proj", torch.stack(images))


def features(state: State, images: Tensor, p: int, heads: int, mode: str, prefix_len: list[int]) -> dict[str, Tensor]:
    """Tokens, every block and the final norm, under the names of the model's layers."""
    rows, columns = images.shape[2] // p, images.shape[3] // p
    x = layer_norm(state, "patch_embed.norm", linear(state, "patch_embed.proj", patchify(images, p)))
    x = x + positions(rows, columns, x.shape[-1])
    found = {"tokens": x}
    may = allowed(mode, prefix_len, rows * columns)
    depth = sum(name.startswith("trunk.blocks.") and name.endswith(".attn.qkv.weight") for name in state)
    for n in range(depth):
        block = f"trunk.blocks.{n}"
        x = x + attention(state, f"{block}.attn", layer_norm(state, f"{block}.norm_1", x), heads, may)
        x = x + mlp(state, f"{block}.mlp", layer_norm(state, f"{block}.norm_2", x))
        found[f"block_{n}"] = x
    return {**found, "post_trunk_norm": layer_norm(state, "trunk.post_trunk_norm", x)}


def predictions(state: State, trunk_out: Tensor, grid: tuple[int, int]) -> Tensor:
    """The pixel head at every position."""
    h = linear(state, "head.proj", trunk_out)
    h = h + positions(*grid, h.shape[-1])
    for n in range(sum(name.startswith("head.blocks.") and name.endswith(".fc1.weight") for name in state)):
        h = h + mlp(state, f"head.blocks.{n}.mlp", layer_norm(state, f"head.blocks.{n}.norm", h))
    return linear(state, "head.pred", layer_norm(state, "head.norm", h))


def target(patch: Tensor, kind: str) -> Tensor:
    """One patch as the head must give it."""
    if kind == "pixels":
        return patch
    mean = patch.sum() / len(patch)
    variance = ((patch - mean) ** 2).sum() / (len(patch) - 1)
    return (patch - mean) / torch.sqrt(variance + EPS)


def patch_losses(predicted: Tensor, images: Tensor, p: int, prefix_len: list[int], kind: str) -> Tensor:
    """Entry [b, i]: mean squared error of output i against patch i + 1 where that is scored, else 0."""
    patches = patchify(images, p)
    batch, count, _ = patches.shape
    losses = torch.zeros(batch, count - 1, dtype=torch.float64)
    for b in range(batch):
        for scored in range(prefix_len[b], count):
            losses[b, scored - 1] = ((predicted[b, scored - 1] - target(patches[b, scored], kind)) ** 2).mean()
    return losses


def loss(losses: Tensor, prefix_len: list[int]) -> Tensor:
    """One mean over all scored patches of the batch."""
    return losses.sum() / sum(losses.shape[1] + 1 - s for s in prefix_len)


def attentive(state: State, x: Tensor, heads: int, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 4 with keys and values of every patch: logits, and the running mean and variance afterwards."""
    flat = x.reshape(-1, x.shape[-1])
    mean, variance = state["bn.running_mean"], state["bn.running_var"]
    running = mean, variance
    if training:
        mean = flat.sum(0) / len(flat)
        squares = ((flat - mean) ** 2).sum(0)
        variance = squares / len(flat)
        running = 0.9 * running[0] + 0.1 * mean, 0.9 * running[1] + 0.1 * squares / (len(flat) - 1)
    patches = (x - mean) / torch.sqrt(variance + EPS)
    keys, values = linear(state, "k", patches), linear(state, "v", patches)
    width = x.shape[-1] // heads
    pooled = []
    for b in range(len(x)):
        parts = []
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            weights = (keys[b, :, own] @ state["cls_token"][0, 0, own] / math.sqrt(width)).softmax(0)
            parts.append(weights @ values[b, :, own])
        pooled.append(torch.cat(parts))
    return linear(state, "linear", torch.stack(pooled)), *running
