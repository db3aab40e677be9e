"""Enlarged test images against bicubic interpolation: PSNR, Frechet distance, agreement with what was given.

    python benchmarks/upscaling.py RUN [--features classifier.onnx] [--count 500] [--average 16] [--steps 20]

Test images are made smaller by the factor of the run (means of blocks, rounded to 8 bits) and enlarged again: by
bicubic interpolation (Pillow's), by one sample each, and as the mean of `--average` samples; each also projected, as
`nextpatch upscale` does it. PSNR is of the mean squared error over all images, pixels from 0 to 1. The Frechet
distance (FD), with `--features`, is that to the same test images as they were: it depends on `--count`, so compare
equal numbers only. "Agreement" is the largest difference, in levels of 8 bits, of a result made smaller again from what
was given.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import nextpatch
from nextpatch.data.downsampling import downsampled
from nextpatch.measure.frechet import FeatureMoments, frechet_distance
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.projection import disagreement, project
from nextpatch.sampling.sampler import Sampler
from nextpatch.tasks.evaluate.graph import ClassifierGraph, graph_of
from nextpatch.weights.backbone import Backbone

SEED = 0


def test_images(backbone: Backbone, data: str, count: int) -> Tensor:
    """The first so many, as the model sees them, uint8."""
    source = nextpatch.dataset(data)
    return torch.stack([backbone.transform(source[number][0]) for number in range(count)])


def bicubic(low: Tensor, factor: int) -> Tensor:
    """By Pillow, channel by channel."""
    size = low.shape[3] * factor, low.shape[2] * factor
    planes = [Image.fromarray(one.numpy()).resize(size, Image.Resampling.BICUBIC) for one in low.flatten(0, 1)]
    return torch.from_numpy(np.stack([np.asarray(one) for one in planes])).view(*low.shape[:2], size[1], size[0])


def enlarged(backbone: Backbone, low: Tensor, average: int, steps: int, temperature: float) -> Tensor:
    """An alternative of each, without projection. Each image has a number of its own, hence noise of its own."""
    config = SamplingConfig(steps=steps, average=average, temperature=temperature, batch_size=64)
    sampler = Sampler(backbone.aim, backbone.about.mean, backbone.about.std, config)
    out = torch.zeros(len(low), low.shape[1], *backbone.about.img_size, dtype=torch.uint8)
    for some in sampler.sample(SEED, range(len(low)), None, None, low):
        out[some.places] = some.images
    return out


def psnr(made: Tensor, true: Tensor) -> float:
    """In decibels."""
    return float(-10 * torch.log10(((made.double() - true.double()) / 255).square().mean()))


def moments(graph: ClassifierGraph, images: Tensor) -> FeatureMoments:
    return FeatureMoments.of(torch.cat([graph(some)[0] for some in images.split(500)]))


def row(name: str, made: Tensor, true: Tensor, low: Tensor, factor: int, graph: ClassifierGraph | None) -> str:
    """One line of the table."""
    distance = "" if graph is None else f"{frechet_distance(moments(graph, made), moments(graph, true)):.2f}"
    return f"| {name} | {psnr(made, true):.2f} dB | {distance} | {disagreement(made, low, factor)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", default="demo:test")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--average", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--temperature", type=float, default=1.0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    backbone = nextpatch.load(given.run)
    factor, graph = backbone.about.upscale, graph_of(given.features) if given.features else None
    true = test_images(backbone, given.data, given.count)
    low = downsampled(true, factor)
    print(f"| {given.count:,} images x{factor} | PSNR | FD | agreement |")
    print("|---|---|---|---|")
    plain = bicubic(low, factor)
    print(row("bicubic", plain, true, low, factor, graph))
    print(row("bicubic, projected", project(plain, low, factor), true, low, factor, graph), flush=True)
    for average in (1, given.average):
        start = time.process_time()
        made = enlarged(backbone, low, average, given.steps, given.temperature)
        spent = time.process_time() - start
        name = "one sample" if average == 1 else f"mean of {average} samples"
        print(row(f"{name}, not projected", made, true, low, factor, graph))
        told = f"{name} ({spent:.0f} s of one thread)"
        print(row(told, project(made, low, factor), true, low, factor, graph), flush=True)


if __name__ == "__main__":
    main()
