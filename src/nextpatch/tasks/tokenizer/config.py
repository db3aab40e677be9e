"""What to fit, and which images to give codes (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.core.bounds import BATCH, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.runs.config import Device
from nextpatch.tokenizer.config import FitOptions


@dataclass(frozen=True)
class FitConfig(FitOptions):
    """A tokenizer of a kind, fitted on the training images of a recipe and written to `out`."""

    out: Annotated[Path, Flag("FILE")]
    """Where to write the tokenizer: a .safetensors file that is not there yet; a .json beside it tells its facts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"out {self.out} must end in .safetensors")


@dataclass(frozen=True)
class ApplyConfig:
    """The codes of every image of `data`, by the tokenizer in `file`, into `out`."""

    file: Annotated[Path, Flag("TOKENIZER", "a .safetensors file, or a run", positional=True)]
    """Tokenizer that gives the codes."""
    data: Annotated[Images, Flag(positional=True)]
    """Images whose codes are computed, in the evaluation view."""
    out: Annotated[Path, Flag("FILE")]
    """Where to write: a .parquet file, or .safetensors."""
    img_size: Annotated[tuple[int, int] | None, Flag("H W")] = None
    """Height and width of the view, multiples of the patch size (default: as it was fitted)."""
    batch_size: int = 64
    """Images computed at a time."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, batch_size=(1, BATCH[1]), workers=WORKERS, img_size=SIDE)
        if self.out.suffix not in (".parquet", ".safetensors"):
            raise ConfigError(f"out {self.out} must end in .parquet or .safetensors")
