"""What a probe measures, on which labels, and how its classifiers learn (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LR_GRID = (1e-4, 3e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 4e-3)  # Table 11
FEW_LRS = (3e-4, 1e-3, 2e-3, 4e-3)  # four of them, for little more than half of the time
NEIGHBORS = (1, 5, 10, 20, 50)
Kind = Literal["attentive", "linear", "knn", "logistic"]
KINDS: tuple[Kind, ...] = ("attentive", "linear", "knn", "logistic")


@dataclass(frozen=True)
class ProbeConfig:
    """Frozen features of weights, measured with labels. Defaults are the paper's (Table 11) unless said otherwise.

    `data`: labeled images to learn from; `test`: labeled images to score on, or empty to set a fifth of `data` aside.
    `labels`: how many labels to learn from, one table row each; empty: 100, 1,000 and 10,000 as far as they go, or all
    of fewer, at least a factor of two apart. `lrs`: learning rates, all tried in one pass; empty: those of the paper
    with `augment` "paper", else four of them. `layers`: sets of blocks, whose outputs are averaged, as "3", "2,3" or
    "0-3"; empty: single blocks over the whole depth and the last six together. `epochs` and `batch_size` 0: by the
    number of labels (ours; the paper takes 50 or 100 epochs of 512 or 1,024). `step`: of the checkpoint; -1: the
    newest. `out`: where the results go; those of a run into the run itself unless said otherwise. `shots`: labels per
    class, each a further number of labels to learn from. `augment`: "paper" changes images anew in every epoch, so
    that features are computed in every epoch; with "none" they are computed once. `select_on`: where layers, learning
    rates and neighbors are chosen: on a held-out slice of `data`, or on the test images themselves, as the paper does.
    `cache`: a folder for features, in bfloat16, where they outlive this call; not with `augment`.
    """

    weights: str | Path
    data: str
    test: str = ""
    labels: tuple[int, ...] = ()
    layers: tuple[str, ...] = ()
    lrs: tuple[float, ...] = ()
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
    out: Path | None = None
    shots: tuple[int, ...] = ()
    probes: tuple[Kind, ...] = KINDS[:3]
    augment: Literal["none", "paper"] = "none"
    select_on: Literal["held-out", "paper"] = "held-out"
    precision: str = "auto"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("no labeled images given; name a folder with one folder per class, or a .parquet file")
        if any(count < 1 for count in self.shots) or not self.probes:
            raise ValueError(f"shots {self.shots} must be at least 1 each, and probes name at least one of {KINDS}")
        if self.select_on == "paper" and not self.test:
            raise ValueError("select_on paper chooses on the test images; name them as test")
        if any(count < 2 for count in self.labels):
            raise ValueError(f"labels {self.labels} must be at least 2 each")
        if not self.lrs:
            object.__setattr__(self, "lrs", LR_GRID if self.augment == "paper" else FEW_LRS)
        if any(lr < self.min_lr for lr in self.lrs):
            raise ValueError(f"lrs {self.lrs} must be at least min_lr {self.min_lr}")
        if self.epochs < 0 or self.batch_size < 0 or self.batch_size == 1:
            raise ValueError(f"need epochs {self.epochs} of 0 or more and batch_size {self.batch_size} of 0, 2 or more")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup {self.warmup} is a share of the steps, from 0 to below 1")
        if not self.neighbors or min(self.neighbors) < 1:
            raise ValueError(f"neighbors {self.neighbors} must be at least 1 each")
