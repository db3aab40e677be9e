"""What images to weigh, compress or restore, and how (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.runs.config import Device

Against = Literal["none", "png", "webp"]
Run = Annotated[str, Flag("RUN", positional=True)]


@dataclass(frozen=True)
class DensityConfig:
    """Bits per dimension of every image, the strangest first."""

    weights: Run
    """Run, or weights, with the head density."""
    data: Annotated[Images, Flag("IMAGES", positional=True)]
    """Images that are weighed."""
    against: Against = "none"
    """Rank by surprise: bits minus those of a lossless file of this kind; none: by bits per dimension alone."""
    out: Annotated[Path, Flag("FILE")] = Path("density.json")
    """Where to write the list, .json or .csv; a contact sheet is written beside it, as .png."""
    shown: int = 24
    """Images on the contact sheet: half of them the strangest, half the least strange."""
    batch_size: int = 32
    """Images computed at a time."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, batch_size=(1, BATCH[1]), workers=WORKERS, shown=(0, 10**4))
        if self.out.suffix not in (".json", ".csv"):
            raise ConfigError(f"out {self.out} must end in .json or .csv")

    @property
    def sheet(self) -> Path:
        """The contact sheet beside the list."""
        return self.out.with_suffix(".png")


@dataclass(frozen=True)
class CompressConfig:
    """Images of the model's size, without loss, in one file."""

    weights: Run
    """Run, or weights, with the head density; the same are needed to restore the images."""
    data: Annotated[Images, Flag("IMAGES", positional=True)]
    """Images of exactly the model's size and channels, of 8 bits."""
    out: Annotated[Path, Flag("FILE")]
    """File to write."""
    batch_size: int = 64
    """Images computed at a time, here and when they are restored."""
    threads: int = 1
    """Threads that compute, here and when they are restored: sums depend on their number."""

    def __post_init__(self) -> None:
        check_bounds(self, batch_size=(1, BATCH[1]), threads=(1, 1024))


@dataclass(frozen=True)
class DecompressConfig:
    """Images of a compressed file, as PNG."""

    weights: Run
    """The weights by which the file was compressed."""
    file: Annotated[Path, Flag("FILE", positional=True)]
    """File written by nextpatch compress."""
    out: Annotated[Path, Flag("DIR")]
    """Folder for the images; it must be new, or empty."""
