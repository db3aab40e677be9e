"""What is adapted, to which labels, and how (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nextpatch.core.bounds import BATCH, EPOCHS, RATE, SEED, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision
from nextpatch.runs.sinks.registry import SinkName, check_names


@dataclass(frozen=True)
class FinetuneConfig:
    """A trunk and an attentive classifier, trained on labeled images. Defaults are Table 11's with mixup 0.8 and rank 8
    (section 5.5, Appendix), unless said otherwise.

    `data`: labeled images; `test`: others to measure on, or empty to set a fifth of `data` aside. `full`: all weights
    learn, the deeper the faster: block b of L at lr * layer_decay^(L - b). `lr` 0: 1e-3 with adapters, 1e-4 with all
    weights (ours; the paper searches its grid). `alpha`: adapters are scaled by alpha / rank (the paper gives none).
    `epochs` 0 and `batch_size` 0: as for a probe of as many labels. `layers`: blocks whose mean the classifier reads.
    `overlap`: what to do with test images that are learned from as well. `img_size`, `pixel_range`, `layout`: how
    images are seen, where it is otherwise than the weights say (see `nextpatch.load`). `sinks`: where the figures go
    beside metrics.jsonl.
    """

    weights: str
    data: str
    out: Path
    test: str = ""
    full: bool = False
    rank: int = 8
    alpha: int = 8
    lr: float = 0.0
    layer_decay: float = 0.75
    epochs: int = 0
    batch_size: int = 0
    warmup_epochs: float = 0.0
    weight_decay: float = 0.1
    clip_norm: float = 3.0
    min_lr: float = 1e-5
    mixup: float = 0.8
    augment: bool = True
    layers: str = ""
    seed: int = 0
    workers: int = 0
    micro_batch_size: int = 32
    device: Device = "auto"
    precision: Precision = "auto"
    resume: bool = False
    sinks: tuple[SinkName, ...] = ("auto",)
    overlap: Literal["refuse", "leave-out", "keep"] = "refuse"
    img_size: tuple[int, int] | None = None
    pixel_range: tuple[float, float] | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        check_bounds(
            self, rank=(1, 4096), alpha=(1, 10**6), lr=RATE, layer_decay=(1e-6, 1.0), epochs=EPOCHS, batch_size=BATCH,
            warmup_epochs=EPOCHS, weight_decay=RATE, clip_norm=(1e-12, 1e12), min_lr=RATE, mixup=(0, 1e6), seed=SEED,
            workers=WORKERS, micro_batch_size=(1, BATCH[1]), img_size=SIDE,
        )  # fmt: skip
        check_names(self.sinks)
        adapters = {"rank": self.rank, "alpha": self.alpha}
        if self.full and (given := [name for name, value in adapters.items() if value != 8]):
            raise ConfigError(f"{' and '.join(given)} are of adapters, which full has none of; leave one of them out")
        if not self.full and self.layer_decay != 0.75:
            raise ConfigError("layer_decay is of the whole trunk's learning rates; give it with full, or leave it out")
        if self.batch_size == 1:
            raise ConfigError(
                "batch_size 1 is too few for the classifier's batch norm; give 2 or more, or leave it out"
            )

    @property
    def peak_lr(self) -> float:
        """The learning rate at the top of the schedule."""
        return self.lr or (1e-4 if self.full else 1e-3)
