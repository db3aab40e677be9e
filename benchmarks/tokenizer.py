"""K-means tokenizers against scikit-learn, on the same patches: inertia, processor time, and the memory of a fit.

    pip install --target sk scikit-learn    # not a dependency of nextpatch
    PYTHONPATH=sk OMP_NUM_THREADS=1 python benchmarks/tokenizer.py demo:train --full

Processor time rather than time on the clock, with one thread each, so that other work on the machine matters little;
the two alternate.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from nextpatch.api.tokenizer import plan_for_tokenizer
from nextpatch.data.collection import open_collection
from nextpatch.tasks.tokenizer.config import FitConfig
from nextpatch.tasks.tokenizer.fit import views_of
from nextpatch.tokenizer import kmeans_fit
from nextpatch.tokenizer.kmeans_lloyd import lloyd
from nextpatch.tokenizer.nearest import nearest

BATCH = 8192


class Rows:
    """Patches in memory, as a fit takes those of images."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.views = rows, SimpleNamespace(images=len(rows))

    def streamed(self) -> Iterator[tuple[int, Tensor]]:
        done = 0
        for some in self.kept():
            done += len(some)
            yield done, some

    def kept(self) -> Iterator[Tensor]:
        yield from torch.split(self.rows, BATCH)


def patches(data: str, count: int, patch: int) -> Tensor:
    """So many patches of training views."""
    values = {"model": {"patch_size": patch} if patch else {}, "data": {"train": [data], "workers": 0}}
    recipe = plan_for_tokenizer({}, values).recipe
    views = views_of(FitConfig(Path("t.safetensors")), recipe, open_collection(recipe.data.train))
    made = kmeans_fit._Patches(views, FitConfig(Path("t.safetensors")), recipe.model.patch_size, 0)
    found: list[Tensor] = []
    while sum(map(len, found)) < count:  # of few images, several views
        start = len(found) * 64
        found += [made._rows(_cut(images, recipe.model.patch_size)) for images in _some(views, start)]
    return torch.cat(found)[:count]


def _some(views: kmeans_fit.Views, start: int) -> list[Tensor]:
    return [next(views.pixels(start, 64))]


def _cut(images: Tensor, patch: int) -> Tensor:
    from nextpatch.patches import patchify

    return patchify(images, patch).flatten(0, 1)


def inertia(rows: Tensor, centers: Tensor) -> float:
    return sum(float(nearest(some, centers).distances.double().sum()) for some in torch.split(rows, BATCH)) / len(rows)


def ours(rows: Tensor, codes: int, seed: int) -> tuple[float, float, float, float]:
    """(inertia after the stream, processor seconds until then, inertia at the end, processor seconds until then)."""
    began = time.process_time()
    given = Rows(rows)
    learned = kmeans_fit._streamed(given, codes, seed)  # type: ignore[arg-type]
    streamed = time.process_time() - began
    first = inertia(rows, learned.centers)
    began = time.process_time()
    centers, _ = lloyd(learned.centers, given.kept, FitConfig(Path("t.safetensors")).passes, lambda *_: None)
    return first, streamed, inertia(rows, centers), streamed + time.process_time() - began


def theirs(rows: Tensor, codes: int, seed: int, full: bool, **options: int) -> tuple[float, float]:
    """(inertia, processor seconds) of scikit-learn."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    began = time.process_time()
    model = (KMeans if full else MiniBatchKMeans)(codes, n_init=1, random_state=seed, **options).fit(rows.numpy())
    spent = time.process_time() - began
    return inertia(rows, torch.from_numpy(model.cluster_centers_).float()), spent


def memory(data: str, codes: int) -> str:
    """The most memory that the command took beyond what it takes to start."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["tokenizer", "fit", data, "--codes", str(codes), "--out", f"{folder}/t.safetensors"]
        taken = []
        for more in (["--images", "300", "--keep-patches", "20000", "--passes", "0"], []):
            subprocess.run([sys.executable, "-m", "nextpatch", *words, *more], check=True, capture_output=True)
            taken.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
            Path(folder, "t.safetensors").unlink()
    return f"{taken[1]:,.0f} MiB at most, {taken[0]:,.0f} MiB with 300 images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--patches", type=int, default=1_000_000)
    parser.add_argument("--patch-size", type=int, default=0)
    parser.add_argument("--codes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="KMeans too, once")
    args = parser.parse_args()
    rows = patches(args.data, args.patches, args.patch_size)
    print(f"{len(rows):,} patches of {rows.shape[1]} values of {args.data}, {args.codes} codes", flush=True)
    for seed in range(args.rounds):
        first, streamed, last, spent = ours(rows, args.codes, seed)
        print(f"ours, seed {seed}: {first:.4f} in {streamed:.1f} s, {last:.4f} in {spent:.1f} s", flush=True)
        error, spent = theirs(rows, args.codes, seed, False)
        print(f"MiniBatchKMeans: {error:.4f} in {spent:.1f} s", flush=True)
    error, spent = theirs(rows, args.codes, 0, False, batch_size=16_384)
    print(f"MiniBatchKMeans, batches of 16,384: {error:.4f} in {spent:.1f} s", flush=True)
    if args.full:
        error, spent = theirs(rows, args.codes, 0, True)
        print(f"KMeans: {error:.4f} in {spent:.1f} s", flush=True)
    print(f"memory of a fit: {memory(args.data, args.codes)}")


if __name__ == "__main__":
    main()
