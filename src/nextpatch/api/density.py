"""`nextpatch.density`, `compress` and `decompress`: likelihoods of images, and what they are worth in bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, model_of
from nextpatch.core.output import check_file
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.measure.table import Table, data_frame
from nextpatch.runs.config import Device
from nextpatch.tasks.density.compress import Compressed
from nextpatch.tasks.density.compress import compress as compress_source
from nextpatch.tasks.density.config import Against
from nextpatch.tasks.density.rank import TRAP, Weighed, record, weigh
from nextpatch.tasks.density.restore import restored


@dataclass(frozen=True, eq=False, repr=False)
class Densities:
    """Images with their bits per dimension, the strangest first; `skipped` could not be decoded, with the reason."""

    images: tuple[Weighed, ...]
    skipped: Bad

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Weighed]:
        return iter(self.images)

    def __getitem__(self, place: int) -> Weighed:
        return self.images[place]

    @property
    def bits_per_dim(self) -> float:
        """The mean over images."""
        return float(np.mean([one.bits_per_dim for one in self.images]))

    def table(self) -> Table:
        """A row for each."""
        rows = [
            [f"{one.bits_per_dim:.3f}", "" if one.surprise is None else f"{one.surprise:+.3f}", one.image]
            for one in self.images
        ]
        return Table(f"{self.bits_per_dim:.3f} bits per dimension", ["bits per dim", "surprise", "image"], rows, TRAP)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: a row for each image, with image, bits_per_dim, resized, and surprise where asked for."""
        return data_frame([record(one) for one in self.images])


def density(
    weights: Weights,
    images: Images,
    *,
    against: Against = "none",
    batch_size: int = 32,
    workers: int = 0,
    device: Device = "auto",
    quiet: bool = False,
) -> Densities:
    """The bits per dimension of every image by weights with the head density, the strangest first.

    `weights`: as `nextpatch.load` takes them, or what it loaded. `images`: one image or any collection. Images of
    another size are resized as in measuring. `against`: "png" or "webp" ranks by surprise, the bits beyond those of
    such a lossless file; without, plain images come out as the least strange under any model. Raises WeightsError for
    weights without likelihoods, DataError where no image can be decoded.

    >>> import nextpatch
    >>> photos = [nextpatch.dataset("demo:test")[i][0] for i in range(3)]
    >>> found = nextpatch.density(density_run, photos, quiet=True)
    >>> len(found.images), found.images[0].bits_per_dim >= found.images[-1].bits_per_dim
    (3, True)
    """
    given, bad = named(images, one=True), Bad()
    with session(quiet):
        model = model_of(weights, device)
        found = weigh(model, open_source(given.one("images")), batch_size, workers, against, bad)
        return Densities(tuple(found), bad)


def compress(
    weights: Weights,
    images: Images,
    out: str | os.PathLike[str],
    *,
    batch_size: int = 64,
    threads: int = 1,
    quiet: bool = False,
) -> Compressed:
    """Images of exactly the model's size and channels, of 8 bits, in one file, without loss.

    Computed on the CPU. `decompress` computes the same probabilities with the same weights, batch size and threads,
    which the file says. Raises DataError for images that would not come back bit for bit, UserError without the extra
    `compress`.

    >>> import nextpatch
    >>> photos = [nextpatch.dataset("demo:test")[i][0] for i in range(3)]
    >>> found = nextpatch.compress(density_run, photos, tmp / "photos", quiet=True)
    >>> found.out.stat().st_size == found.file_bytes
    True
    """
    given, place = named(images, one=True), Path(out)
    check_file(place)
    with session(quiet):
        return compress_source(model_of(weights, "cpu"), open_source(given.one("images")), place, batch_size, threads)


def decompress(
    weights: Weights, file: str | os.PathLike[str], *, quiet: bool = False
) -> dict[str, UInt8[np.ndarray, "height width channels"]]:
    """The images of a file of `compress` by name, bit for bit.

    FileError for a file that is damaged, of other weights, or that does not come back on this machine.

    >>> import nextpatch, numpy
    >>> photos = [nextpatch.dataset("demo:test")[i][0] for i in range(3)]
    >>> _ = nextpatch.compress(density_run, photos, tmp / "photos", quiet=True)
    >>> again = nextpatch.decompress(density_run, tmp / "photos", quiet=True)
    >>> all((image[..., 0] == photo).all() for image, photo in zip(again.values(), map(numpy.asarray, photos)))
    True
    """
    with session(quiet):
        header, images = restored(model_of(weights, "cpu"), Path(file))
        return dict(zip(header.names, images, strict=True))
