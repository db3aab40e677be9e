"""Which generated images are measured, against which others, and by which features (no torch: `--help` reads it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.core.bounds import BATCH, COUNT, SEED, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.runs.config import Device, Precision

PIXELS = "pixels"
Features = Annotated[
    str,
    Flag(
        "WEIGHTS",
        "what nextpatch embed takes, an .onnx file of a classifier, inception:FILE for the standard FID, or pixels",
    ),
]


@dataclass(frozen=True)
class EvaluateConfig:
    """How far the images `samples` are from the images `real`, into the folder `out`."""

    samples: Annotated[Images, Flag(positional=True)]
    """Images to measure, as a folder that nextpatch sample wrote; folders or a list may say their classes."""
    real: Images
    """Images that they are compared with; best ones that the generator never saw."""
    out: Annotated[Path, Flag("FOLDER")]
    """Folder for evaluation.json and nearest.png."""
    train: Images = ""
    """Images that the generator learned from: copies of them are looked for (default: none)."""
    features: Features = PIXELS
    """What computes the features."""
    count: int = 0
    """How many images of each collection to take, drawn by chance (default: all)."""
    img_size: Annotated[tuple[int, int] | None, Flag("H W")] = None
    """Height and width that all images are brought to first (default: that of the samples)."""
    batch_size: int = 64
    """Images computed at a time."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "fp32"
    """Number format of matrix products."""
    seed: int = 0
    """Seed of what is drawn."""

    def __post_init__(self) -> None:
        check_bounds(
            self, count=COUNT, img_size=SIDE, batch_size=(1, BATCH[1]), workers=WORKERS, seed=SEED,
        )  # fmt: skip
        if 0 < self.count < 4:
            raise ConfigError(f"count {self.count} must be at least 4, or 0 for all images")
