"""Sampling with keys and values kept against everything computed anew for each patch, one thread.

    python benchmarks/sampling.py [--size nano] [--images 16 1] [--steps 5] [--patches 256]

Both make the same images with the same weights: at each patch the kept way takes its step, then the plain one computes
all tokens so far, whose last feature must be the same to 1e-5. So they alternate within one run, and ratios are of
processor time. Drawing the patch from the feature, the head's part, is the same work in both and is timed once; the
ratio is told of the trunk alone and with a flow of three blocks and `--steps` steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from nextpatch.core.text import format_bytes
from nextpatch.model.aim import AIM
from nextpatch.model.attention import causal_mask
from nextpatch.model.cache import KeyValueCache
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.distribution import Draw
from nextpatch.model.heads.noise import Noise
from nextpatch.model.init import init_weights

CPU = torch.device("cpu")


def model_of(size: str, patches: int) -> AIM:
    """A flow on square images of so many patches of 14 px, with random weights that are not at their start."""
    side = 14 * round(patches**0.5)
    cfg = ModelConfig(size=size, img_size=(side, side), head="flow", head_depth=3)  # the depth of MAR's head
    model, generator = AIM(cfg), torch.Generator().manual_seed(1)
    init_weights(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it gives, and the seconds of the processor."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


@torch.no_grad()
def compare(model: AIM, images: int, steps: int) -> str:
    """One line of the result."""
    cfg, count = model.cfg, model.cfg.num_patches
    seeds = torch.arange(images)
    cache = KeyValueCache(cfg, images, count, CPU)
    token = model.start_tokens(None, images, torch.zeros(images, dtype=torch.int64))
    tokens, kept, plain, head, off = token, 0.0, 0.0, 0.0, 0.0
    for turn in range(count):
        new = token
        feature, spent = timed(lambda new=new: model.trunk.extend(new, cache)[:, -1])
        mask = causal_mask(turn + 1, CPU)[None, None]
        every = tokens
        again, anew = timed(lambda every=every, mask=mask: model.trunk(every, mask)["post_trunk_norm"][:, -1])
        place = torch.full((images,), turn)
        condition = model.condition(feature, place)
        noise = Noise(seeds, place)
        patch, drawing = timed(
            lambda condition=condition, noise=noise: model.head.sample(condition, noise, Draw(steps=steps))
        )
        off = max(off, float((feature - again).abs().max()))
        if turn >= 2:  # the first ones warm up
            kept, plain, head = kept + spent, plain + anew, head + drawing
        if turn + 1 < count:
            there = torch.full((images, 1), turn + 1)
            token = model.patch_tokens(patch.clamp(-2, 2)[:, None], place[:, None], there)
            tokens = torch.cat([tokens, token], dim=1)
    assert off < 1e-5, f"features differ by {off:.2g}"
    held = sum(block.keys.nbytes + block.values.nbytes for block in cache.blocks)
    assert held == KeyValueCache.num_bytes(cfg, images, count)
    whole = (plain + head) / (kept + head)
    each = [1e3 * spent / images for spent in (kept, plain, head)]
    return (
        f"{images:>3} images at a time: trunk {plain / kept:.1f}x, with a flow of {steps} steps {whole:.1f}x (an image "
        f"{each[0]:.1f} ms kept, {each[1]:.0f} ms anew, {each[2]:.1f} ms drawing); features differ by {off:.1g}; keys "
        f"and values {format_bytes(held)}"
    )


def main() -> None:
    """Print a line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--images", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--patches", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = model_of(args.size, args.patches)
    print(f"{args.size}, {model.cfg.num_patches} patches, float32, one thread")
    for images in args.images:
        print(compare(model, images, args.steps), flush=True)


if __name__ == "__main__":
    main()
