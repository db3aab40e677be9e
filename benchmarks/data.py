"""Reading images: ours beside PIL + torchvision and beside webdataset, interleaved, one core.

    python benchmarks/data.py [--rounds 5] [--count 150] [--part decode|tar|bad|seek|all]

Photos come from benchmarks/photos.py. `decode`: bytes in memory to a training view (random crop 0.4-1.0 to 224,
bicubic with antialiasing, flip) by PIL + torchvision and by ours, on the same crop boxes. `tar`: the same from tar
shards to batches of 50, by a webdataset pipeline with either decoder and by our stream; what ours costs beside the
decoding is its time less that of decoding the same bytes from memory. `bad`: good images to batches with bad ones
among them. `seek`: the order of 1e9 samples in 1e5 shards.
Reported: medians over rounds of CPU time per image, and of ratios within a round.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torch import Tensor

from nextpatch.data import loader
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import decode
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.data.sources.open import open_source
from nextpatch.data.views import crop_box, train_view
from photos import MAKES, make_photos

CFG, SIZE, BATCH, SHARD = DataConfig(), (224, 224), 50, 50


def by_pil(data: bytes, seed: int) -> Tensor:
    """What most training scripts do, with our crop boxes."""
    rng = np.random.default_rng(seed)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    top, left, height, width = crop_box(image.height, image.width, CFG, rng)
    image = F.resized_crop(image, top, left, height, width, list(SIZE), F.InterpolationMode.BICUBIC)
    image = F.hflip(image) if rng.random() < CFG.flip else image
    return F.pil_to_tensor(image)


def by_ours(data: bytes, seed: int) -> Tensor:
    """Ours, from bytes."""
    return train_view(decode(data, 3), SIZE, CFG, np.random.default_rng(seed))


def made(views: Iterator[Tensor]) -> int:
    """How many there are; none is kept, as none is once a batch is made."""
    return sum(1 for _ in views)


def interleaved(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU per image of each way, per round; each way returns how many images it made."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            images = way()
            if round_:  # the first warms up
                taken[name].append((time.process_time() - start) / images)
    return taken


def show(title: str, taken: dict[str, list[float]], reference: str) -> None:
    """A line per way: milliseconds per image, and the median ratio to the reference."""
    print(title)
    for name, seconds in taken.items():
        ratio = median(theirs / ours for theirs, ours in zip(taken[reference], seconds, strict=True))
        print(f"  {name:<34} {1000 * median(seconds):6.3f} ms   {ratio:5.2f} x {reference}")


def bench_decode(photos: dict[str, list[Path]], rounds: int) -> None:
    """Bytes to views, per make of photo."""
    for make in MAKES:
        data = [path.read_bytes() for path in photos[make]]
        ways = {
            "PIL + torchvision": lambda data=data: made(by_pil(d, i) for i, d in enumerate(data)),
            "ours": lambda data=data: made(by_ours(d, i) for i, d in enumerate(data)),
            "ours, decoding alone": lambda data=data: made(decode(d, 3) for d in data),
        }
        show(f"decode, crop, flip: {make}", interleaved(ways, rounds), "PIL + torchvision")
        apart = [(by_pil(d, i).float() - by_ours(d, i).float()).abs() for i, d in enumerate(data)]
        mean, most = float(torch.stack([a.mean() for a in apart]).mean()), max(float(a.max()) for a in apart)
        print(f"  difference of pixels: mean {mean:.4f}, largest {most:.0f} of 255")


def pack(photos: dict[str, list[Path]], folder: Path) -> list[Path]:
    """The photos as img2dataset leaves them: jpg, txt and json beside each other."""
    files = [path for pair in zip(*photos.values(), strict=True) for path in pair]
    shards = []
    for start in range(0, len(files), SHARD):
        shards.append(folder / f"{start // SHARD:05d}.tar")
        with tarfile.open(shards[-1], "w") as tar:
            for number, path in enumerate(files[start : start + SHARD], start):
                for kind, data in (("jpg", path.read_bytes()), ("json", b'{"width": 500}'), ("txt", b"a photo")):
                    member = tarfile.TarInfo(f"{number:09d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return shards


def webdataset_pass(shards: list[Path], view: Callable[[bytes, int], Tensor]) -> int:
    """One pass by webdataset's usual pipeline."""
    import webdataset as wds

    data = (
        wds.WebDataset([str(shard) for shard in shards], shardshuffle=100, seed=0, empty_check=False)
        .shuffle(500)
        .to_tuple("jpg")
        .map(lambda sample: view(sample[0], 0))
        .batched(BATCH, collation_fn=lambda views: torch.stack(views))
    )
    return sum(len(batch) for batch in data)


def bench_tar(photos: dict[str, list[Path]], rounds: int) -> None:
    """Tar shards to batches."""
    with tempfile.TemporaryDirectory() as folder:
        shards = pack(photos, Path(folder))
        source = open_source(folder)
        count = len(source)
        data = [source.read(i) for i in range(count)]
        order = Mixture([MixturePart(source.shard_sizes, np.empty(0, np.int64), source.random_access)], 0)
        loader.KEEP_BYTES = 0  # as with a large collection: decoded images do not stay in memory
        stream = TrainStream(source, order, CFG, SIZE, 3, 0)
        ways = {
            "webdataset + PIL": lambda: webdataset_pass(shards, by_pil),
            "webdataset + our decoder": lambda: webdataset_pass(shards, by_ours),
            "ours": lambda: sum(len(b.keys) for b in islice(stream.batches(0, BATCH), count // BATCH)),
            "our decoder, bytes in memory": lambda: made(by_ours(d, i) for i, d in enumerate(data)),
        }
        taken = interleaved(ways, rounds)
    show(f"end to end, {count} images in {len(shards)} shards, workers 0", taken, "webdataset + PIL")
    same = median(a / b for a, b in zip(taken["webdataset + our decoder"], taken["ours"], strict=True))
    print(f"  ours, beside webdataset with our decoder: {same:.2f} x")
    own = median(a - b for a, b in zip(taken["ours"], taken["our decoder, bytes in memory"], strict=True))
    print(f"  ours beside its decoding: {1000 * own:.3f} ms per image")


class Held:
    """Encoded images in memory; every so many is cut in half."""

    name, classes, digest, random_access, remote = "held", (), "", True, False

    def __init__(self, data: list[bytes], share_bad: float) -> None:
        bad = np.random.default_rng(0).random(len(data)) < share_bad
        self._data = [d[: len(d) // 2] if cut else d for d, cut in zip(data, bad, strict=True)]
        self.shard_sizes = np.array([len(data)])

    def __len__(self) -> int:
        return len(self._data)

    def read(self, index: int) -> bytes:
        """The image."""
        return self._data[index]

    def key(self, index: int) -> str:
        """Its number."""
        return str(index)

    def label(self, index: int) -> None:
        """None."""

    def prefetch(self, shard: int) -> None:
        """Nothing to do."""


def bench_bad(photos: dict[str, list[Path]], rounds: int) -> None:
    """What bad images cost: each takes a failed decoding and a replacement."""
    data = [path.read_bytes() for path in photos["dfn"]] * 10
    loader.KEEP_BYTES = 0
    logging.disable(logging.WARNING)
    ways = {}
    for share in (0.0, 0.001, 0.01, 0.1, 0.5):
        source = Held(data, share)
        order = Mixture([MixturePart(source.shard_sizes, np.empty(0, np.int64))], 0)
        stream = TrainStream(source, order, replace(CFG, max_bad=1.0), SIZE, 3, 0)
        ways[f"{share:.1%} bad"] = lambda stream=stream: sum(len(b.keys) for b in islice(stream.batches(0, BATCH), 12))
    show("good images to batches, with bad ones among them", interleaved(ways, rounds), "0.0% bad")


def bench_seek(rounds: int) -> None:
    """The order of a billion samples."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    sizes = np.random.default_rng(0).integers(9000, 11_001, 100_000)
    order = Mixture([MixturePart(sizes, np.arange(0, int(sizes.sum()), 10**6), False)], 0, 8, 4)
    opened = time.perf_counter() - start
    seeks, batches = [], []
    for position in np.random.default_rng(1).integers(0, 10**11, 10 * rounds).tolist():
        start = time.perf_counter()
        order.at(np.array([position]))
        seeks.append(time.perf_counter() - start)
        start = time.perf_counter()
        order.at(np.arange(position, position + 1024))
        batches.append((time.perf_counter() - start) / 1024)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"order of {len(order):,} samples in {len(sizes):,} shards: made in {1000 * opened:.0f} ms, +{grown:.0f} MiB")
    print(f"  seek to any position {1000 * median(seeks):.1f} ms (slowest {1000 * max(seeks):.1f} ms)")
    print(f"  then {1e6 * median(batches):.2f} us a sample")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=150, help="photos of each make")
    parser.add_argument("--part", choices=["decode", "tar", "bad", "seek", "all"], default="all")
    parser.add_argument("--photos", type=Path, default=Path(tempfile.gettempdir()) / "nextpatch-photos")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if args.part in ("seek", "all"):
        bench_seek(args.rounds)
    if args.part == "seek":
        return
    photos = make_photos(args.photos, args.count)
    if args.part in ("decode", "all"):
        bench_decode(photos, args.rounds)
    if args.part in ("bad", "all"):
        bench_bad(photos, args.rounds)
    if args.part in ("tar", "all"):
        bench_tar(photos, args.rounds)


if __name__ == "__main__":
    main()
