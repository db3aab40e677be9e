"""Which benchmarks are run, on what, and how (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nextpatch.core.bounds import BATCH, EPOCHS, SEED, WORKERS, check_bounds
from nextpatch.runs.config import Device, Precision


@dataclass(frozen=True)
class BenchConfig:
    """Attentive probes on the paper's benchmarks, by its recipe (Table 11).

    `only`: names of benchmarks; empty: all 15. `root`: folder with the data, one folder per benchmark. `epochs` and
    `batch_size` 0: the paper's, 100 of 512 (ImageNet: 50 of 1,024, 5 of them with a rising learning rate).
    `any_counts`: measure also what has not the number of images of Table 9, and say so.
    """

    weights: str
    out: Path
    only: tuple[str, ...] = ()
    root: Path | None = None
    layers: tuple[str, ...] = ()
    epochs: int = 0
    batch_size: int = 0
    augment: Literal["none", "paper"] = "paper"
    select_on: Literal["held-out", "paper"] = "held-out"
    any_counts: bool = False
    seed: int = 0
    workers: int = 0
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_bounds(self, epochs=EPOCHS, batch_size=BATCH, seed=SEED, workers=WORKERS)
