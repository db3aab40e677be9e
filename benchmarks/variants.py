"""One training step of each variant: our packed formulation against the plain one, alternating, one thread.

    python benchmarks/variants.py [NAME ...] [--rounds 5] [--precision fp32|bf16] [--batch 8]

NAME is a row of VARIANTS (default: all). Plain is the loss as it is defined: every token, every block and the head at
every place, then the scored losses (`position_losses`). Both have the same weights, images and draws, and their
losses are compared first. Printed: processor seconds of forward and backward, which other programs do not change much,
the median over rounds of the ratio plain / packed within a round, its range, and the ratio of counted operations. A
variant of another target is one line more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.precision import Dtype, autocast
from nextpatch.objective.objective import scored_count
from nextpatch.objective.registry import objective_of

BASE: dict[str, Any] = {"embed_dim": 384, "depth": 6, "num_heads": 6, "head_width": 384, "head_depth": 12}
VARIANTS: dict[str, dict[str, Any]] = {
    "next_patch-mlp": {},
    "next_patch-none": {"head": "none"},
    "next_patch-transformer": {"head": "transformer"},
    "masked-mlp": {"objective": "masked"},
    "masked-none": {"objective": "masked", "head": "none"},
    "masked-transformer": {"objective": "masked", "head": "transformer"},
}


def timed(loss: Callable[[], Tensor], precision: Dtype) -> float:
    """Seconds of the processor for forward and backward: waiting for other programs does not count."""
    start = time.process_time()
    with autocast(torch.device("cpu"), precision):
        value = loss()
    value.backward()  # type: ignore[no-untyped-call]
    return time.process_time() - start


def counted(loss: Callable[[], Tensor]) -> int:
    """Operations of forward and backward."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()


def compare(name: str, precision: Dtype, rounds: int, batch: int) -> str:
    """One line of the table."""
    cfg = ModelConfig(**{**BASE, **VARIANTS[name]})
    model, objective = AIM(cfg), objective_of(cfg)
    init_weights(model, 0)
    images = torch.randn(batch, 3, *cfg.img_size, generator=torch.Generator().manual_seed(0))
    draws = objective.draw(0, torch.arange(batch))
    ways: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: objective.position_losses(model, images, draws).sum() / scored_count(objective, draws),
        "packed": lambda: objective.loss_sum(model, images, draws) / scored_count(objective, draws),
    }
    with torch.no_grad():
        torch.testing.assert_close(ways["packed"](), ways["plain"](), rtol=1e-4, atol=0)
    operations = {way: counted(loss) for way, loss in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first round warms up and is dropped
        for way, loss in ways.items():
            model.zero_grad()
            times[way].append(timed(loss, precision))
    ratios = sorted(p / q for p, q in zip(times["plain"][1:], times["packed"][1:], strict=True))
    return (
        f"{name:>24} {precision}: packed {median(times['packed'][1:]) * 1e3:6.0f} ms, {median(ratios):.2f}x "
        f"({ratios[0]:.2f}-{ratios[-1]:.2f}); by operations {operations['plain'] / operations['packed']:.2f}x"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()
    if unknown := sorted({*args.names} - VARIANTS.keys()):
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    torch.set_num_threads(1)
    for name in args.names or VARIANTS:
        print(compare(name, args.precision, args.rounds, args.batch), flush=True)


if __name__ == "__main__":
    main()
