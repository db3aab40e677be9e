"""Which benchmarks are run, on what, and how (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, EPOCHS, SEED, WORKERS, check_bounds
from nextpatch.core.fields import Flag
from nextpatch.model.config import InferenceAttention
from nextpatch.runs.config import Device, Precision, Weights


@dataclass(frozen=True)
class BenchConfig:
    """Attentive probes on the paper's benchmarks, by its recipe (Table 11)."""

    weights: Weights
    """Weights to measure."""
    out: Annotated[Path, Flag("DIR")]
    """Where to write the results."""
    only: tuple[Annotated[str, Flag("NAME")], ...] = ()
    """Names of benchmarks, separated by spaces or commas (default: all 15)."""
    root: Annotated[Path | None, Flag("DIR")] = None
    """Folder with the data, one folder per benchmark (default: they are downloaded where possible)."""
    layers: tuple[Annotated[str, Flag("SET")], ...] = ()
    """Blocks to read, as in nextpatch probe (default: as the weights say)."""
    attention: InferenceAttention | None = None
    """Attention by which features are computed; causal: each patch from those before it in the model's order (default:
    as the classifier of the weights reads them, else bidirectional)."""
    epochs: int = 0
    """Passes over the images (default: as in the paper, 100; for ImageNet 50).

    Of ImageNet's 50 the learning rate rises in 5.
    """
    batch_size: int = 0
    """Images in an update (default: as in the paper, 512; for ImageNet 1,024)."""
    augment: Literal["none", "paper"] = "paper"
    """paper: change the images at random in every epoch (Table 11); none: compute the features once."""
    select_on: Literal["held-out", "paper"] = "held-out"
    """Choose layers and learning rates on held-out training images, or on the test images (the paper)."""
    any_counts: bool = False
    """Measure data sets even if they have other numbers of images than Table 9 states, and say so."""
    seed: int = 0
    """Seed of order, augmentation and initial weights."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of the trunk."""

    def __post_init__(self) -> None:
        check_bounds(self, epochs=EPOCHS, batch_size=BATCH, seed=SEED, workers=WORKERS)
