"""What a probe measures, on which labels, and how its classifiers learn (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from nextpatch.core.bounds import BATCH, COUNT, EPOCHS, RATE, SEED, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision

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
    `cache`: a folder for features, float32, where they outlive this call; figures are those without it; not with
    `augment`.
    `overlap`: what to do with test images that are learned from as well. `img_size`, `pixel_range`, `layout`: how
    images are seen, where it is otherwise than the weights say (see `nextpatch.load`).
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
    device: Device = "auto"
    out: Path | None = None
    shots: tuple[int, ...] = ()
    probes: tuple[Kind, ...] = KINDS[:3]
    augment: Literal["none", "paper"] = "none"
    select_on: Literal["held-out", "paper"] = "held-out"
    precision: Precision = "auto"
    cache: Path | None = None
    overlap: Literal["refuse", "leave-out", "keep"] = "refuse"
    img_size: tuple[int, int] | None = None
    pixel_range: tuple[float, float] | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        check_bounds(
            self, labels=(2, COUNT[1]), lrs=RATE, epochs=EPOCHS, batch_size=BATCH, weight_decay=RATE,
            clip_norm=(1e-12, 1e12), min_lr=RATE, warmup=(0, 0.999), neighbors=(1, 10**6), step=(-1, COUNT[1]),
            seed=SEED, workers=WORKERS, shots=(1, 10**9), img_size=SIDE,
        )  # fmt: skip
        if not self.data:
            raise ConfigError("no labeled images given; name a folder with one folder per class, or a .parquet file")
        if not self.probes or not self.neighbors:
            raise ConfigError(f"name at least one of the probes {', '.join(KINDS)}, and one number of neighbors")
        if ignored := self._ignored():
            raise ConfigError(
                f"{', '.join(ignored)} say nothing for the probes {' '.join(self.probes)}; leave them out"
            )
        if self.select_on == "paper" and not self.test:
            raise ConfigError("select_on paper chooses on the test images; name them as test")
        if not self.lrs:
            object.__setattr__(self, "lrs", LR_GRID if self.augment == "paper" else FEW_LRS)
        if any(lr < self.min_lr for lr in self.lrs):
            raise ConfigError(f"lrs {self.lrs} must be at least min_lr {self.min_lr}")
        if self.batch_size == 1:
            raise ConfigError(
                "batch_size 1 is too few for the classifier's batch norm; give 2 or more, or leave it out"
            )

    def _ignored(self) -> list[str]:
        """Values given otherwise than by default that none of the probes reads: they would be overlooked."""
        trained = [kind for kind in self.probes if kind in ("attentive", "linear")]
        of_training = ("lrs", "epochs", "batch_size", "weight_decay", "clip_norm", "min_lr", "warmup")
        unread = [*(() if trained else of_training), *(() if "knn" in self.probes else ("neighbors",))]
        usual = {item.name: (item.default,) for item in fields(self)} | {"lrs": ((), FEW_LRS, LR_GRID)}
        return [name for name in unread if getattr(self, name) not in usual[name]]
