"""What a probe measures, on which labels, and how its classifiers learn (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, COUNT, EPOCHS, RATE, SEED, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import LabeledImages
from nextpatch.data.preprocessing import ViewOptions
from nextpatch.model.config import InferenceAttention
from nextpatch.runs.config import Device, Precision, Weights
from nextpatch.tasks.probe.kinds import PROBE_KINDS, need_known, unread_values

LR_GRID = (1e-4, 3e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 4e-3)  # Table 11
FEW_LRS = (3e-4, 1e-3, 2e-3, 4e-3)  # four of them, for little more than half of the time
NEIGHBORS = (1, 5, 10, 20, 50)
Kind = Annotated[str, Flag("KIND", ", ".join(PROBE_KINDS))]


@dataclass(frozen=True)
class ProbeConfig(ViewOptions):
    """Frozen features of weights, measured with labels. Defaults are the paper's (Table 11) unless said otherwise.

    An empty value or 0 stands for the default that its docstring names.
    """

    weights: Annotated[Weights | Path, Flag(positional=True)]
    """Weights whose frozen features are measured."""
    data: LabeledImages
    """Labeled images to learn from."""
    test: LabeledImages = ""
    """Labeled images to test on (default: a fifth of the training images, set aside)."""
    labels: tuple[int, ...] = ()
    """Numbers of labels to learn from, one table row each (default: 100, 1000, 10000 as far as there are labels).

    With fewer than 100 labels: all of them. Each number is at least twice the one before.
    """
    layers: tuple[Annotated[str, Flag("SET")], ...] = ()
    """Blocks to read: one (3), or the mean of several (2,3 or 0-3); each: every block by itself; windows: the mean of
    every six blocks in a row (default: some blocks, and the mean of the last six).

    The default: single blocks over the whole depth, and the last six together.
    """
    lrs: tuple[float, ...] = ()
    """Learning rates, all tried in one pass (default: four; the seven of Table 11 if augment is paper)."""
    epochs: int = 0
    """Passes over the labels (default: 8 to 16, by their number, and more where that were fewer than 480 updates).

    Ours; the paper takes 50 or 100.
    """
    batch_size: int = 0
    """Images in an update (default: 32 to 256, by the number of labels).

    Ours; the paper takes 512 or 1,024.
    """
    weight_decay: float | None = None
    """Weight decay of all weights; biases have none (default: 0.1, as in the paper; with fewer than 10,000 labels as
    many times more as these are fewer, at most 1)."""
    heads: int = 0
    """Attention heads of the attentive probe (default: as many as the trunk has, as in the paper; of a trunk with fewer
    than 12: 24, or the nearest number that divides its width)."""
    clip_norm: float = 3.0
    """Norm to which larger gradients of a probe are clipped."""
    min_lr: float = 1e-5
    """Learning rate at the end."""
    warmup: float = 0.05
    """Share of the updates in which the learning rate rises."""
    neighbors: tuple[int, ...] = NEIGHBORS
    """Numbers of nearest neighbors to try."""
    pooling: Literal["auto", "mean"] = "auto"
    """How linear, knn and logistic probes make one vector of the patches; mean: the mean of all, as in the paper; auto:
    the means of 3 x 3 or 2 x 2 regions where they are few enough values, and neighbors in a whitened space if that is
    better on the held-out images.
    """
    baselines: bool = True
    """Measure raw pixels and, of a run, the untrained network as well."""
    step: int = -1
    """Checkpoint of the run to measure, by its step (default: the newest).

    The default -1 stands for the newest.
    """
    seed: int = 0
    """Seed of the split of the labels and of the initial weights of the probes."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""
    out: Annotated[Path | None, Flag("DIR")] = None
    """Where to write the results (default: into the run; required for other weights)."""
    shots: tuple[int, ...] = ()
    """Numbers of labels per class, such as 1 5 10; each is a further number of labels to learn from."""
    probes: tuple[Kind, ...] = ("attentive", "linear", "knn")
    """Which classifiers to train."""
    augment: Literal["none", "paper"] = "none"
    """paper: change the images at random in every epoch (Table 11); none: compute the features once.

    With "paper" features are computed anew in every epoch.
    """
    select_on: Literal["held-out", "paper"] = "held-out"
    """Choose layers, learning rates and neighbors on held-out training images, or on the test images (the paper)."""
    precision: Precision = "auto"
    """Number format of the trunk; probes are always float32."""
    attention: InferenceAttention | None = None
    """Attention by which the trunk computes features, as in Table 3d; causal: each patch from those before it in the
    model's order (default: bidirectional).

    A model that is loaded already is measured with its own.
    """
    cache: Annotated[Path | None, Flag("DIR")] = None
    """Folder to keep features in, as float32, if there are more labels than fit into memory.

    Features outlive this call there; figures are the same as without it. Not with `augment`.
    """
    overlap: Literal["refuse", "leave-out", "keep"] = "refuse"
    """What to do with test images that are also among the training images."""

    def __post_init__(self) -> None:
        check_bounds(
            self, labels=(2, COUNT[1]), lrs=RATE, epochs=EPOCHS, batch_size=BATCH, weight_decay=RATE,
            heads=(0, 4096), clip_norm=(1e-12, 1e12), min_lr=RATE, warmup=(0, 0.999), neighbors=(1, 10**6),
            step=(-1, COUNT[1]), seed=SEED, workers=WORKERS, shots=(1, 10**9), img_size=SIDE,
        )  # fmt: skip
        if not self.data:
            raise ConfigError("no labeled images given; name a folder with one folder per class, or a .parquet file")
        if not self.probes or not self.neighbors:
            raise ConfigError(f"name at least one of the probes {', '.join(PROBE_KINDS)}, and one number of neighbors")
        need_known(self.probes)
        if ignored := self._ignored():
            raise ConfigError(
                f"{', '.join(ignored)} have no effect on the probes {' '.join(self.probes)}; leave them out"
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

    def decay(self, labels: int) -> float:
        """The weight decay of probes that learn from so many labels."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.1 if self.augment == "paper" else min(1.0, 0.1 * max(1.0, 10_000 / labels))

    def _ignored(self) -> list[str]:
        """Values given otherwise than by default that none of the probes reads: they would be overlooked."""
        usual = {item.name: (item.default,) for item in fields(self)} | {"lrs": ((), FEW_LRS, LR_GRID)}
        return [name for name in unread_values(self.probes) if getattr(self, name) not in usual[name]]
