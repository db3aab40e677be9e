"""What a grid of probes costs beside the trunk, and beside a plain implementation of the released head.

    python benchmarks/probes.py [--classes 100] [--batch 64] [--rounds 5] [--threads 2]

The trunk is `small` at 224 px, every one of its 12 blocks probed at the 7 learning rates of Table 11: 84 attentive
probes, forward, backward, clipping and AdamW. Reported: the median over rounds of (trunk + probes) / trunk, where the
trunk is its evaluation pass in the number format of this machine; and for one probe the time of the plain head, which
computes a key and a value for every patch, against the grid's time per probe. Then the same by counted operations, for
`small` and for 600m. Figures: docs/log.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.attentive import plain_probe_flops, probe_flops
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.model.count import forward_flops
from nextpatch.model.init import init_weights
from nextpatch.tasks.probe.attentive import AttentiveGrid
from nextpatch.tasks.probe.config import LR_GRID, ProbeConfig
from nextpatch.tasks.probe.fit import Fit
from nextpatch.weights.assemble import LoadOptions, of_model
from nextpatch.weights.inference import InferenceModel


class PlainHead(nn.Module):
    """Equation 4 as written: BatchNorm, a key and a value for every patch, one query, linear."""

    def __init__(self, dim: int, heads: int, classes: int) -> None:
        super().__init__()
        self.heads = heads
        self.bn = nn.BatchNorm1d(dim, eps=1e-6, affine=False)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.k, self.v = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.linear = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.k(x), self.v(x)))
        seen = F.scaled_dot_product_attention(q.expand(len(x), -1, -1, -1), k, v)
        return self.linear(seen.transpose(1, 2).flatten(1))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def counted(name: str, classes: int, batch: int) -> None:
    cfg = ModelConfig(name)
    probes, trunk = cfg.shape.depth * len(LR_GRID), forward_flops(cfg)
    ours, plain = probe_flops(cfg, classes, batch), plain_probe_flops(cfg, classes)
    print(
        f"counted, {name}: {probes} probes add {probes * ours / trunk:.1%} to a trunk pass of {trunk / 1e9:.1f} GFLOP; "
        f"each takes {ours / 1e6:.0f} MFLOP an image, with keys and values per patch {plain / ours:.0f} times as many"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cfg = ModelConfig("small")
    model = AIM(cfg)
    init_weights(model, 0)
    inference = InferenceModel.of(of_model(model, "small", LoadOptions(), None, ((), ())), "cpu")
    layers = [f"block_{i}" for i in range(cfg.shape.depth)]
    images = torch.randint(0, 255, (given.batch, 3, 224, 224), dtype=torch.uint8)
    labels = torch.randint(0, given.classes, (given.batch,))
    shape, grid_size = cfg.shape, cfg.shape.depth * len(LR_GRID)
    grid = AttentiveGrid(shape.depth, LR_GRID, shape.embed_dim, given.classes, shape.num_heads, 0).train()
    fit = Fit(grid, ProbeConfig(Path(), "x"), 1000)
    plain = PlainHead(shape.embed_dim, shape.num_heads, given.classes)
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-3, fused=True)

    def trunk() -> list[Tensor]:
        return [f.float() for group in images.split(16) for f in [inference.features(group, layers)[layers[-1]]]]

    features = [torch.cat(one) for one in zip(
        *([inference.features(group, layers)[name].float() for name in layers] for group in images.split(16)),
        strict=True,
    )]  # fmt: skip

    def plain_step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(plain(features[5]), labels).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 3.0)
        optimizer.step()

    for warm in (trunk, lambda: fit.step(features, labels), plain_step):
        warm()
    ratios, gains, rows = [], [], []
    for _ in range(given.rounds):
        trunk_s, probes_s = seconds(trunk), seconds(lambda: fit.step(features, labels))
        plain_s = seconds(plain_step)
        ratios.append((trunk_s + probes_s) / trunk_s)
        gains.append(plain_s / (probes_s / grid_size))
        rows.append((trunk_s, probes_s, plain_s))
    t, p, one = (median(column) for column in zip(*rows, strict=True))
    print(
        f"measured, small, {inference.precision}, batch {given.batch}, {given.classes} classes, "
        f"{given.threads} threads: "
        f"trunk {t:.2f} s, {grid_size} probes {p:.2f} s; (trunk + probes) / trunk = {median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f} in {given.rounds} rounds)"
    )
    print(
        f"measured: a plain head takes {1000 * one:.1f} ms a step, a probe of the grid {1000 * p / grid_size:.2f} ms: "
        f"{median(gains):.1f} times less ({min(gains):.1f} to {max(gains):.1f})"
    )
    for name in SIZES:
        if name in ("small", "600m"):
            counted(name, given.classes, given.batch)


if __name__ == "__main__":
    main()
