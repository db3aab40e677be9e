"""One training step: packed (ours) against plain (head and last block everywhere), interleaved, one thread.

    python benchmarks/step.py [--rounds 7] [--model bench|600m-ratio|all]

Both formulations share the same weights, images and prefixes, whose mean is K/2, and give the same loss. The plain one
is what the paper's text says word by word: every token, every block and the head at every position, then a masked
mean; its attention is PyTorch's fused kernel with an additive mask. Reported: the median over rounds of the ratio
plain / packed within a round, for forward + backward, and again with the AdamW step included; then the same for a plain
formulation with our attention, which leaves only what packing saves; beside it the ratio of counted operations, which
is what a machine that only multiplies matrices would reach.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.attention import prefix_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import TARGETS
from nextpatch.model.precision import autocast
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.next_patch import NextPatch, scored_mask, with_prefix
from nextpatch.objective.objective import scored_count
from nextpatch.patches import patchify

MODELS = {
    "bench": ModelConfig(embed_dim=384, depth=6, num_heads=6, head_width=512, head_depth=12),
    # the head is 0.60 of the trunk in parameters at 600m; its block count (24) makes the last block 1/24 of the trunk
    "600m-ratio": ModelConfig(embed_dim=384, depth=24, num_heads=3, head_width=512, head_depth=12),
}


def plain_loss(model: AIM, images: Tensor, prefix_len: Tensor, own_attention: bool = False) -> Tensor:
    """The sum of scored patch losses, everything computed everywhere."""
    patches = patchify(images, model.cfg.patch_size)
    x = model.patch_embed(patches)
    mask = prefix_mask(prefix_len, x.shape[1], x.device)
    for block in model.trunk.blocks:
        normed = block.norm_1(x)
        x = x + (block.attn(normed, mask) if own_attention else plain_attention(block.attn, normed, mask))
        x = x + block.mlp(block.norm_2(x))
    place = torch.arange(x.shape[1])
    predicted = model.head(model.trunk.post_trunk_norm(x), place, place, torch.zeros_like(place))
    wanted = TARGETS[model.cfg.target](model.cfg).wanted(Chosen.every(images, model.cfg))
    error = (predicted[:, :-1].float() - wanted[:, 1:]).square().mean(dim=-1)
    return (error * scored_mask(prefix_len, patches.shape[1])).sum()


def plain_attention(attn: torch.nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Fused scaled_dot_product_attention at every position."""
    q, k, v = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in attn.qkv(x).chunk(3, dim=-1))
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
    return attn.proj(seen.transpose(1, 2).flatten(2))


def plain_flops(cfg: ModelConfig) -> float:
    """Operations of the plain step per image, counted as `train_step_flops` counts."""
    s, n = cfg.shape, cfg.num_patches
    d, h = s.embed_dim, s.head_width
    trunk = s.depth * (24 * n * d * d + 4 * n * n * d)
    head = 2 * n * (d * h + s.head_depth * 8 * h * h + h * cfg.patch_dim)
    return 3 * (trunk + head) + 4 * n * cfg.patch_dim * d


def timed(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, precision: str) -> tuple[float, float]:
    """(seconds of forward + backward, seconds with the optimizer's step)."""
    start = time.perf_counter()
    with autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]
        value = loss()
    value.backward()
    middle = time.perf_counter()
    optimizer.step()
    optimizer.zero_grad()
    return middle - start, time.perf_counter() - start


def compare(name: str, precision: str, rounds: int, batch: int = 8) -> str:
    """One line of the result table."""
    cfg = MODELS[name]
    model = AIM(cfg)
    init_weights(model, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    prefix_len = torch.linspace(16, 240, batch).long()  # mean 128, spread like uniform draws
    objective, draws = NextPatch(cfg), with_prefix(prefix_len)
    count = scored_count(objective, draws)
    ways = {
        "plain": lambda: plain_loss(model, images, prefix_len) / count,
        "same attention": lambda: plain_loss(model, images, prefix_len, own_attention=True) / count,
        "packed": lambda: objective.loss_sum(model, images, draws) / count,
    }
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first round warms up and is dropped
        for way, loss in ways.items():
            times[way].append(timed(loss, optimizer, precision))
    without, with_step, packing = (
        ratios(times[way], times["packed"], part) for way, part in (("plain", 0), ("plain", 1), ("same attention", 0))
    )
    counted = plain_flops(cfg) / train_step_flops(cfg, count / batch)
    return (
        f"{name:>11} {precision}: {median(without):.2f}x forward+backward ({without[0]:.2f}-{without[-1]:.2f}), "
        f"{median(with_step):.2f}x with AdamW; {median(packing):.2f}x with the same attention; "
        f"{counted:.2f}x by operations; packed {median(t[0] for t in times['packed'][1:]) * 1e3:.0f} ms"
    )


def ratios(ours: list[tuple[float, float]], theirs: list[tuple[float, float]], part: int) -> list[float]:
    """Ratios within each round but the first, sorted."""
    return sorted(p[part] / q[part] for p, q in zip(ours[1:], theirs[1:], strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in MODELS if args.model == "all" else [args.model]:
        for precision in ("fp32", "bf16"):
            print(compare(name, precision, args.rounds), flush=True)


if __name__ == "__main__":
    main()
