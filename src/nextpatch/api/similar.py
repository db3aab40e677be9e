"""`nextpatch.similar`: the images whose features are nearest to those of another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from rich.console import Console

from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Samples
from nextpatch.measure.table import Table, data_frame
from nextpatch.tasks.embed.config import SpaceName
from nextpatch.tasks.embed.features import Features, features_of
from nextpatch.tasks.embed.index import data_of, read_index
from nextpatch.tasks.embed.nearest import ROWS, NearestRows, nearest, space_of
from nextpatch.tasks.embed.picture import Neighbor, Original, Originals, draw
from nextpatch.tasks.embed.run import Embedded
from nextpatch.tasks.embed.similar import nearest_in


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors:
    """The images nearest to `query`, nearest first: `names`, the cosines `similarities`, and `rows` of the index.

    `space`: where the cosines were taken, "whitened" or "standardized".
    """

    query: str
    names: tuple[str, ...]
    similarities: tuple[float, ...]
    rows: tuple[int, ...]
    space: SpaceName
    original: Original = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Neighbor]:
        return map(Neighbor, self.names, self.similarities)

    def picture(self) -> Image:
        """The query and its neighbors side by side; those that are not to be had any more are left blank."""
        return draw(self.query, list(self), self.original)

    def table(self) -> Table:
        """A row for each."""
        rows = [
            [f"{value:.3f}", name, str(row)]
            for value, name, row in zip(self.similarities, self.names, self.rows, strict=True)
        ]
        return Table(f"Nearest to {self.query} ({self.space})", ["similarity", "image", "row"], rows)

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with the columns image, similarity, row."""
        columns = zip(self.names, self.similarities, self.rows, strict=True)
        return data_frame([dict(zip(("image", "similarity", "row"), values, strict=True)) for values in columns])


@dataclass(frozen=True)
class Kept:
    """The images of an index in memory, by name."""

    images: Samples
    places: dict[str, int]

    def __call__(self, name: str) -> bytes:
        return self.images.read(self.places[name])


@dataclass(frozen=True)
class WithQuery:
    """The same with the query, by its name."""

    query: Samples
    original: Original

    def __call__(self, name: str) -> bytes:
        return self.query.read(0) if name == self.query.key(0) else self.original(name)


def similar(
    index: Features | Embedded | str | Path,
    query: Images,
    k: int = 10,
    *,
    weights: str = "",
    data: Images | None = None,
    device: str = "auto",
    space: SpaceName = "auto",
    quiet: bool = False,
) -> Neighbors:
    """The `k` images of an index nearest to an image, by the cosine of their features.

    `index`: what `nextpatch.embed` returned, or a .parquet file or folder that it wrote, of one vector for each image.
    `query`: one image - a path, a PIL image, an array, a tensor. Its features are computed by the weights of the index;
    `weights` says where they lie now, and `data` where its images do. `space`: "whitened" by the index, so that all
    directions count about the same, or "standardized", every value at its own scale; "auto" is whitened for 1,000
    images or more, unless a classifier's attention has pooled them. Raises ConfigError for an index that holds no
    vectors, or of other weights; DataError for what is not an image.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (6, 28, 28), np.uint8)
    >>> features = nextpatch.embed(nano_run, pixels, quiet=True)
    >>> found = nextpatch.similar(features, pixels[4], k=2, quiet=True)
    >>> found.rows[0], round(found.similarities[0], 3)
    (4, 1.0)
    """
    if k < 1:
        raise ConfigError(f"k {k} must be at least 1")
    asked, images = named(query, one=True), None if data is None else named(data)
    with session(quiet), phase("looking for the nearest images"):
        source = open_source(asked.one("query"))
        if len(source) != 1:
            raise ConfigError(f"query is {len(source):,} images; give one")
        if isinstance(index, Features):
            return _in_memory(index, source, k, space)
        opened = read_index(Path(index.out if isinstance(index, Embedded) else index))
        found = nearest_in(opened, source, k, weights, device, space)
        originals = Originals(images.one("data") if images else data_of(opened))
        return _neighbors(found, opened.names, source, originals.__getitem__)


def _in_memory(index: Features, query: Samples, k: int, space: SpaceName) -> Neighbors:
    if index.array.ndim != 2:
        raise ConfigError("the index holds every patch of an image; embed without pool='patches'")
    wanted = features_of(index.model, query, index.pool, console=Console(quiet=True)).array[0]
    pieces = partial(torch.split, torch.from_numpy(index.array), ROWS)
    found = nearest(torch.from_numpy(wanted), pieces, k, space_of(pieces, len(index), space, index.pool))
    places = dict(zip(index.names, index.indices.tolist(), strict=True))
    return _neighbors(found, index.names, query, Kept(index.images, places))


def _neighbors(found: NearestRows, names: Sequence[str], query: Samples, original: Original) -> Neighbors:
    return Neighbors(
        query.key(0), tuple(names[row] for row in found.rows), found.cosines, found.rows, found.space,
        WithQuery(query, original),
    )  # fmt: skip
