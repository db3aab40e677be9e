"""The images that come with the package, by name: `demo:train` and `demo:test`, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.sources.parquet import ParquetSource

PREFIX = "demo:"
FOLDER = Path(__file__).parents[2] / "demo"
SPLITS = ("train", "test")


class ShippedSource(ParquetSource):
    """One of SPLITS behind PREFIX. Its name, not the place of the package, is what runs and files of features keep."""

    def __init__(self, spec: str) -> None:
        split = spec.removeprefix(PREFIX)
        if split not in SPLITS:
            raise DataError(f"the package has no images '{spec}'; there are {', '.join(PREFIX + s for s in SPLITS)}")
        super().__init__([FOLDER / f"{split}.parquet"])
        self.name = spec

    def key(self, index: int) -> str:
        """Name and row."""
        return f"{self.name}#{index}"
