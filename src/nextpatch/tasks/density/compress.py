"""Lossless compression by a model: every value coded by the probability that the model gives it, and decoded so."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from nextpatch.core.errors import FileError
from nextpatch.core.progress import Meter
from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.sources.source import Samples
from nextpatch.patches import patchify, unpatchify
from nextpatch.tasks.density.archive import Header, read_archive, write_archive
from nextpatch.tasks.density.coder import LIBRARY, RangeReader, RangeWriter
from nextpatch.tasks.density.exact_images import Exact, exact_images
from nextpatch.tasks.density.stepping import Choose, step_through
from nextpatch.tasks.density.weighing import weighing_model
from nextpatch.weights.backbone import Backbone, digest_of_tensors

log = logging.getLogger(__name__)
_LEAST = 1e-30  # a probability that float32 may have rounded to zero; the coder has a least of its own, 2**-24


@dataclass(frozen=True)
class Compressed:
    """What came out: `coded_bytes` of the `file_bytes` are values, the rest names and what restoring needs."""

    out: Path
    images: int
    values: int
    file_bytes: int
    coded_bytes: int
    claimed_bits: float

    @property
    def bits_per_dim(self) -> float:
        """Of the whole file."""
        return 8 * self.file_bytes / self.values


def compress(backbone: Backbone, source: Samples, out: Path, batch_size: int = 64, threads: int = 1) -> Compressed:
    """Every image of `source` into the file `out`; `decompress` restores them bit for bit.

    Images go `batch_size` at a time, the last batch filled up with black, value by value. On the CPU, in float32, with
    so many threads, whatever the process has. DataError for images that are not of the model's size and kind.
    """
    model, head = weighing_model(backbone)
    if not len(source):
        raise DataError(f"{shown(source.name)} holds no images to compress")
    made = _Made(RangeWriter())
    with computing_with(threads), Meter("compressing", len(source)) as meter:
        images_left = exact_images(source, backbone.about)
        while some := list(islice(images_left, batch_size)):
            images = _filled([pixels for _, pixels in some], batch_size)
            known = patchify(images.long(), model.cfg.patch_size)
            step_through(model, head, batch_size, made.choosing(known.numpy().astype(np.int32), len(some)))
            made.add([name for name, _ in some], images[: len(some)])
            meter.add(len(some))
    payload, about = made.encoder.finished(), backbone.about
    header = Header(
        len(made.names), tuple(made.names), about.in_chans, about.img_size, digest_of_tensors(model), batch_size,
        threads, torch.__version__, _cpu(), f"{LIBRARY} {version(LIBRARY)}", made.bits, tuple(made.checks),
        made.digest.hexdigest(), len(payload), zlib.crc32(payload),
    )  # fmt: skip
    values = len(made.names) * model.cfg.num_patches * model.cfg.patch_dim
    return Compressed(out, len(made.names), values, write_archive(out, header, payload), len(payload), made.bits)


class _Made:
    """What was coded so far."""

    def __init__(self, encoder: RangeWriter) -> None:
        self.encoder, self.bits = encoder, 0.0
        self.names: list[str] = []
        self.checks: list[int] = []
        self.digest = hashlib.sha256()

    def choosing(self, known: NDArray[np.int32], count: int) -> Choose:
        """Codes the values of a batch, of whose images `count` are there."""

        def choose(probabilities: Float32[np.ndarray, "batch levels"], place: int, value: int) -> NDArray[np.int32]:
            symbols = known[:, place, value]
            self.encoder.put(np.ascontiguousarray(symbols[:count]), probabilities[:count])
            self.bits -= float(
                np.log2(probabilities[np.arange(count), symbols[:count]].clip(_LEAST).astype(np.float64)).sum()
            )
            return symbols

        return choose

    def add(self, names: Sequence[str], images: UInt8[Tensor, "some channels height width"]) -> None:
        """Names and digests of images that were coded."""
        self.names += names
        data = images.contiguous().numpy().tobytes()
        self.checks.append(zlib.crc32(data))
        self.digest.update(data)


def decompress(backbone: Backbone, path: Path) -> tuple[Header, Iterator[UInt8[Tensor, "some channels height width"]]]:
    """What a file says of itself, and its images, batch by batch, each proved by its digest before it is given.

    FileError for a file that is damaged, of other weights, or whose images do not come back on this machine.
    """
    header, payload = read_archive(path)
    model, _ = weighing_model(backbone)
    found, about = digest_of_tensors(model), backbone.about
    if found != header.weights or (about.in_chans, about.img_size) != (header.channels, header.img_size):
        raise FileError(
            f"{shown(path)} was compressed by other weights (SHA-256 {header.weights[:12]}...) than "
            f"{shown(about.name)} ({found[:12]}...), which alone restore it; give those"
        )
    unlike = [
        f"{what} {there} there, {here} here"
        for what, there, here in (("torch", header.torch, torch.__version__), ("CPU", header.cpu, _cpu()))
        if there != here
    ]
    if unlike:
        log.warning(
            "%s was compressed elsewhere (%s): probabilities may differ in their last bits, and then it cannot be "
            "restored here; a digest of every batch tells", shown(path), shown("; ".join(unlike)),
        )  # fmt: skip
    return header, _restored(backbone, path, header, payload, "; ".join(unlike))


def _restored(
    backbone: Backbone, path: Path, header: Header, payload: bytes, unlike: str
) -> Iterator[UInt8[Tensor, "some channels height width"]]:
    model, head = weighing_model(backbone)
    decoder, total = RangeReader(payload), hashlib.sha256()
    why = unlike or "its machine, or its versions of libraries, computed other probabilities"
    with computing_with(header.threads), Meter("restoring", header.images) as meter:
        for number, check in enumerate(header.checks):
            count = min(header.batch_size, header.images - number * header.batch_size)
            try:
                levels = step_through(model, head, header.batch_size, _decoding(decoder, header.batch_size, count))
            except (AssertionError, ValueError):
                raise FileError(f"{shown(path)}: batch {number} cannot be decoded here ({shown(why)})") from None
            images = unpatchify(levels[:count].float(), model.cfg.grid, model.cfg.patch_size).to(torch.uint8)
            data = images.contiguous().numpy().tobytes()
            if zlib.crc32(data) != check:
                raise FileError(
                    f"{shown(path)}: batch {number} does not come back as it was ({shown(why)}); restore it where it "
                    "was compressed"
                )
            total.update(data)
            meter.add(count)
            yield images
    if total.hexdigest() != header.pixels:
        raise FileError(f"{shown(path)}: the images are not those that were compressed; get the file again")


def _decoding(decoder: RangeReader, batch: int, count: int) -> Choose:
    def choose(probabilities: Float32[np.ndarray, "batch levels"], place: int, value: int) -> NDArray[np.int32]:
        symbols = np.zeros(batch, np.int32)
        symbols[:count] = decoder.get(probabilities[:count])
        return symbols

    return choose


def _filled(images: Sequence[Exact], batch: int) -> UInt8[Tensor, "batch channels height width"]:
    """As a whole batch, with black ones behind."""
    whole = torch.zeros(batch, *images[0].shape, dtype=torch.uint8)
    whole[: len(images)] = torch.stack(list(images))
    return whole


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Inside, torch computes with so many threads, and without kernels that choose themselves by trial."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu() -> str:
    """What decides on the kernels of torch."""
    return torch.backends.cpu.get_cpu_capability()
