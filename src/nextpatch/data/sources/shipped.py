"""The images that come with the package, by name: `demo:train`, `demo:test`, and parts of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from nextpatch.data.error import DataError
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.source import Source, digest_of

PREFIX = "demo:"
FOLDER = Path(__file__).parents[2] / "demo"
SPLITS = ("train", "test")
Labels = Int64[np.ndarray, " rows"]
_SOME, _FEW = 5000, 1000  # of all classes, of the even ones
# the classes with even and those with odd numbers are two kinds of data: what is learned of one helps the other little
PARTS: dict[str, Callable[[Labels], Labels]] = {
    "even": lambda labels: np.flatnonzero(labels % 2 == 0),
    "odd": lambda labels: np.flatnonzero(labels % 2 == 1),
    "some": lambda labels: np.arange(min(_SOME, len(labels))),
    "even-few": lambda labels: np.flatnonzero(labels % 2 == 0)[:_FEW],
}


def open_shipped(spec: str) -> Source:
    """The images of `demo:SPLIT`, or of `demo:SPLIT/PART` those of PARTS. DataError for a name that there is not."""
    split, slash, part = spec.removeprefix(PREFIX).partition("/")
    if split not in SPLITS or (slash and part not in PARTS):
        names, parts = ", ".join(PREFIX + name for name in SPLITS), ", ".join(f"/{name}" for name in PARTS)
        raise DataError(f"the package has no images '{spec}'; there are {names}, and of each the parts {parts}")
    whole = ShippedSource(split)
    return ShippedPart(whole, part) if slash else whole


class ShippedSource(ParquetSource):
    """One of SPLITS. Its name, not the place of the package, is what runs and files of features keep."""

    def __init__(self, split: str) -> None:
        super().__init__([FOLDER / f"{split}.parquet"])
        self.name = PREFIX + split

    def key(self, index: int) -> str:
        """Name and row."""
        return f"{self.name}#{index}"


class ShippedPart:
    """Some images of a split, in its order, under the keys that they have there."""

    random_access, remote = True, False

    def __init__(self, whole: ShippedSource, part: str) -> None:
        self._whole, self.classes = whole, whole.classes
        self._rows = PARTS[part](np.array([whole.label(row) for row in range(len(whole))], dtype=np.int64))
        self.name = f"{whole.name}/{part}"
        self.shard_sizes = np.array([len(self._rows)])
        self.digest = digest_of([whole.digest, *map(str, self._rows.tolist())])

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> bytes:
        """The image's bytes."""
        return self._whole.read(int(self._rows[index]))

    def key(self, index: int) -> str:
        """Name of the whole split, and row in it."""
        return self._whole.key(int(self._rows[index]))

    def label(self, index: int) -> int | None:
        """The row's class."""
        return self._whole.label(int(self._rows[index]))

    def prefetch(self, shard: int) -> None:
        """Nothing: it is near."""
