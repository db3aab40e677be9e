"""Holes filled by runs that generate, against biharmonic and harmonic fill, on test images.

    pip install --target ski scikit-image    # biharmonic fill; not a dependency of nextpatch
    PYTHONPATH=ski python benchmarks/inpainting.py OUT.csv RUNS... [--features classifier.onnx] [--count 500]
        [--average 16] [--steps 20]

The runs are those of benchmarks/studies/inpainting.toml, or any that generate images of 28 px without labels. Holes:
the square in the middle, the right half, and a random half of the run's patches. Of each image and hole `--average`
alternatives are drawn. "expected" is the root of the mean squared error of their mean in the hole, pixels in [0, 1];
"sample" that of the first one; FD is the Frechet distance of the images with the first one filled in to the same test
images as they were, by the features of a classifier. Orders that see known patches too late are taken as they are.

A row is added to OUT.csv when it is measured, and what is there already is not measured again: stop it at any time.
Printed at the end is a table, the mean over runs of one kind with the smallest and largest, and the expected value's
error over that of biharmonic fill.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fills import FILLS, features, holes
from nextpatch.measure.frechet import FeatureMoments, frechet_distance
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.known import KnownPixels
from nextpatch.sampling.sampler import Sampler
from nextpatch.tasks.evaluate.graph import ClassifierGraph, graph_of
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load
from strange import clothes

FIELDS = ("kind", "run", "patch", "hole", "images", "average", "steps", "expected", "sample", "fd")
KEY = FIELDS[:7]
SEED, TOGETHER = 0, 32  # images whose alternatives are drawn in one call
Row = dict[str, str]


def drawn(sampler: Sampler, images: Tensor, hole: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """The mean of `times` alternatives for each image, and the first one, in [0, 1]; number i * times + j is j of i."""
    means, firsts = [], []
    for start in range(0, len(images), TOGETHER):
        some = images[start : start + TOGETHER, None].repeat_interleave(times, dim=0)
        numbers = range(start * times, start * times + len(some))
        known = KnownPixels(some, (~hole).expand(len(some), 1, -1, -1))
        made = torch.zeros_like(some)
        for found in sampler.sample(SEED, numbers, None, known):
            made[found.places] = found.images
        grouped = made[:, 0].view(-1, times, *hole.shape).double() / 255
        means.append(grouped.mean(dim=1))
        firsts.append(grouped[:, 0])
    return torch.cat(means), torch.cat(firsts)


def error(made: Tensor, images: Tensor, hole: Tensor) -> float:
    return float((made - images)[:, hole].square().mean().sqrt())


def figures(expected: Tensor, sample: Tensor, images: Tensor, hole: Tensor, graph: ClassifierGraph | None) -> Row:
    """What a row says of images in [0, 1]."""
    found = {"expected": f"{error(expected, images, hole):.5f}", "sample": f"{error(sample, images, hole):.5f}"}
    if graph is None:
        return {**found, "fd": ""}
    both = (FeatureMoments.of(features(graph, some)) for some in (sample, images))
    return {**found, "fd": f"{frechet_distance(*both):.4f}"}


def of_fills(images: Tensor, patch: int, graph: ClassifierGraph | None, there: set[tuple[str, ...]]) -> Iterator[Row]:
    """Rows of the fills; left out where scikit-image is not installed."""
    for name, hole in holes(images.shape[-1], patch=patch).items():
        for fill in ("harmonic", "biharmonic"):
            key = dict(zip(KEY, (fill, "", str(patch), name, str(len(images)), "1", "0"), strict=True))
            if tuple(key.values()) in there:
                continue
            try:
                made = FILLS[fill](images, hole)
            except ImportError as missing:
                print(f"{fill} is left out: {missing}")
                continue
            yield {**key, **figures(made, made, images, hole, graph)}


def of_run(
    path: Path, images: Tensor, average: int, steps: int, graph: ClassifierGraph | None, there: set[tuple[str, ...]]
) -> Iterator[Row]:
    """Rows of a run."""
    backbone: Backbone = load(path, device="cpu")
    cfg, about = backbone.aim.cfg, backbone.about
    sampler = Sampler(backbone.aim, about.mean, about.std, SamplingConfig(steps=steps, batch_size=64))
    for name, hole in holes(images.shape[-1], patch=cfg.patch_size).items():
        words = (
            f"{cfg.head}, {cfg.order}, {cfg.attention}",
            path.name,
            cfg.patch_size,
            name,
            len(images),
            average,
            steps,
        )
        key = dict(zip(KEY, map(str, words), strict=True))
        if tuple(key.values()) not in there:
            expected, sample = drawn(sampler, (images * 255).round().byte(), hole, average)
            yield {**key, **figures(expected, sample, images, hole, graph)}


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("fd") is not None]  # none is cut short


def add(path: Path, row: Row) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def spread(values: Sequence[str], digits: int) -> str:
    """The mean, and the smallest and largest of several."""
    numbers = [float(value) for value in values if value]
    if not numbers:
        return "-"
    mean = f"{sum(numbers) / len(numbers):.{digits}f}"
    return mean if len(numbers) == 1 else f"{mean} ({min(numbers):.{digits}f}-{max(numbers):.{digits}f})"


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each hole and kind, of the same images and settings."""
    yield "| hole | by | runs | expected value | over biharmonic | one sample | FD of one sample |"
    yield "|---|---|---|---|---|---|---|"
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["hole"], row["patch"], row["images"], row["kind"]), []).append(row)
    for (hole, patch, images, kind), own in sorted(groups.items()):
        reference = groups.get((hole, patch, images, "biharmonic"))
        ratio = [str(float(row["expected"]) / float(reference[0]["expected"])) for row in own] if reference else []
        cells = [hole, kind, str(len(own)), spread([row["expected"] for row in own], 4), spread(ratio, 2)]
        cells += [spread([row["sample"] for row in own], 4), spread([row["fd"] for row in own], 2)]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--average", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    graph = graph_of(given.features) if given.features else None
    images = torch.from_numpy(clothes("demo:test", given.count)).double() / 255
    patches: set[int] = set()
    for run in given.runs:
        there = {tuple(row[name] for name in KEY) for row in read(given.out)}
        for row in of_run(run, images, given.average, given.steps, graph, there):
            add(given.out, row)
            print(f"{row['kind']}, {row['run']}, {row['hole']}: {row['expected']}, {row['sample']}", flush=True)
        patches |= {int(row["patch"]) for row in read(given.out) if row["run"] == run.name}
    for patch in sorted(patches):
        there = {tuple(row[name] for name in KEY) for row in read(given.out)}
        for row in of_fills(images, patch, graph, there):
            add(given.out, row)
    print("\n".join(table(read(given.out))))


if __name__ == "__main__":
    main()
