"""What is adapted, to which labels, and how (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, EPOCHS, RATE, SEED, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import LabeledImages
from nextpatch.data.preprocessing import ViewOptions
from nextpatch.runs.config import Device, Precision, Weights
from nextpatch.runs.sinks.names import SinkName, check_names


@dataclass(frozen=True)
class FinetuneConfig(ViewOptions):
    """A trunk and an attentive classifier, trained on labeled images.

    Defaults are Table 11's with mixup 0.8 and rank 8 (section 5.5, Appendix), unless said otherwise.
    """

    weights: Weights
    """Weights to adapt."""
    data: LabeledImages
    """Labeled images to learn from."""
    out: Annotated[Path, Flag("DIR")]
    """Where to write the results: a new directory."""
    test: LabeledImages = ""
    """Labeled images to test on (default: a fifth of the training images, set aside)."""
    full: bool = False
    """Train all weights, instead of adapters."""
    rank: int = 8
    """Rank of the adapters."""
    alpha: int = 8
    """The adapters are scaled by alpha / rank.

    The paper gives none.
    """
    lr: float = 0.0
    """Peak learning rate (default: 1e-3 for adapters, 1e-4 for all weights).

    Ours; the paper searches its grid.
    """
    layer_decay: float = 0.75
    """If all weights are trained: factor of the learning rate from each block to the one below it.

    Block b of L learns at lr * layer_decay^(L - b).
    """
    epochs: int = 0
    """Passes over the images (default: 8 to 100, by their number).

    As for a probe of as many labels.
    """
    batch_size: int = 0
    """Images in an update (default: 16 to 512, by their number).

    As for a probe of as many labels.
    """
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate rises."""
    weight_decay: float = 0.1
    """Weight decay of matrices; biases and norms have none."""
    clip_norm: float = 3.0
    """Norm to which larger gradients are clipped."""
    min_lr: float = 1e-5
    """Learning rate at the end."""
    mixup: float = 0.8
    """Alpha of mixup; 0: no mixup."""
    augment: bool = True
    """Use RandAugment and color jitter in addition to crops and flips."""
    layers: Annotated[str, Flag("SET")] = ""
    """Blocks whose mean the classifier reads, such as 3, 2,3 or 0-3 (default: as the weights say)."""
    seed: int = 0
    """Seed of order, augmentation and initial weights."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    micro_batch_size: int = 32
    """Images computed at a time; it changes the memory needed, not the result."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of matrix products."""
    resume: bool = False
    """Continue after the last update that was saved."""
    sinks: tuple[SinkName, ...] = ("auto",)
    """Where to write the figures, besides metrics.jsonl; auto: into TensorBoard files, if it is installed."""
    overlap: Literal["refuse", "leave-out", "keep"] = "refuse"
    """What to do with test images that are also among the training images."""

    def __post_init__(self) -> None:
        check_bounds(
            self, rank=(1, 4096), alpha=(1, 10**6), lr=RATE, layer_decay=(1e-6, 1.0), epochs=EPOCHS, batch_size=BATCH,
            warmup_epochs=EPOCHS, weight_decay=RATE, clip_norm=(1e-12, 1e12), min_lr=RATE, mixup=(0, 1e6), seed=SEED,
            workers=WORKERS, micro_batch_size=(1, BATCH[1]), img_size=SIDE,
        )  # fmt: skip
        check_names(self.sinks)
        adapters = {"rank": self.rank, "alpha": self.alpha}
        if self.full and (given := [name for name, value in adapters.items() if value != 8]):
            raise ConfigError(
                f"{' and '.join(given)} apply to adapters only, and full trains none; leave one of them out"
            )
        if not self.full and self.layer_decay != 0.75:
            raise ConfigError("layer_decay applies only if all weights are trained; give it with full, or leave it out")
        if self.batch_size == 1:
            raise ConfigError(
                "batch_size 1 is too few for the classifier's batch norm; give 2 or more, or leave it out"
            )

    @property
    def peak_lr(self) -> float:
        """The learning rate at the top of the schedule."""
        return self.lr or (1e-4 if self.full else 1e-3)
