"""What a probe measures, on which labels, and how its classifiers learn (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LR_GRID = (1e-4, 3e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 4e-3)  # Table 11
NEIGHBORS = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class ProbeConfig:
    """Frozen features of a run, measured with labels. Defaults are the paper's (Table 11) unless said otherwise.

    `data`: labeled images to learn from; `test`: labeled images to score on, or empty to set a fifth of `data` aside.
    `labels`: how many labels to learn from, one table row each; empty: 100, 1,000 and 10,000 as far as they go, or all
    of fewer. `layers`: sets of blocks, whose outputs are averaged, as "3", "2,3" or "0-3"; empty: single blocks over
    the whole depth and the last six together. `epochs` and `batch_size` 0: by the number of labels (ours; the paper
    takes 50 or 100 epochs of 512 or 1,024). `step`: of the checkpoint; -1: the newest.
    """

    run: Path
    data: str
    test: str = ""
    labels: tuple[int, ...] = ()
    layers: tuple[str, ...] = ()
    lrs: tuple[float, ...] = LR_GRID
    epochs: int = 0
    batch_size: int = 0
    weight_decay: float = 0.1
    clip_norm: float = 3.0
    min_lr: float = 1e-5
    warmup: float = 0.05
    neighbors: tuple[int, ...] = NEIGHBORS
    step: int = -1
    seed: int = 0
    workers: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("no labeled images given; name a folder with one folder per class, or a .parquet file")
        if any(count < 2 for count in self.labels):
            raise ValueError(f"labels {self.labels} must be at least 2 each")
        if not self.lrs or any(lr < self.min_lr for lr in self.lrs):
            raise ValueError(f"lrs {self.lrs} must be at least min_lr {self.min_lr}")
        if self.epochs < 0 or self.batch_size < 0 or self.batch_size == 1:
            raise ValueError(f"need epochs {self.epochs} of 0 or more and batch_size {self.batch_size} of 0, 2 or more")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup {self.warmup} is a share of the steps, from 0 to below 1")
        if not self.neighbors or min(self.neighbors) < 1:
            raise ValueError(f"neighbors {self.neighbors} must be at least 1 each")
