"""Fine-tuning as the loop sees it: cross-entropy on labeled, mixed images, in epochs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import asdict, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, all_seeded, rng_at
from nextpatch.data.epochs import Epochs
from nextpatch.data.loader import Batch
from nextpatch.data.skipped import Bad
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.config import GuardConfig, TrainConfig
from nextpatch.tasks.finetune import optimizer as optimizers
from nextpatch.tasks.finetune.adapted import Adapted
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.train.guard import GuardState
from nextpatch.train.learner import Shown, Stopped, Task
from nextpatch.train.optimizer import optimizer_tensors
from nextpatch.train.state import TrainState
from nextpatch.train.step import Share
from nextpatch.weights.backbone import Backbone

Numbered = tuple[Batch, int]  # with the step that it is for


class DivergedError(UserError):
    """The training left the numbers that can be written; what was saved before is whole."""


class Finetuning:
    """What learns, its optimizer and its images. `stream` gives the batches of this rank from the first on."""

    def __init__(self, model: Adapted, stream: Epochs, cfg: FinetuneConfig, ranks: Ranks = ALONE) -> None:
        self.model, self.stream, self.cfg, self.ranks = model, stream, cfg, ranks
        self.optimizer = optimizers.build(model.trunk, model.classifier, cfg, model.depth)
        self.advice = (
            f"Look at these images; then try a lower --lr (it is {cfg.peak_lr:g}) or --precision fp32, in a new --out."
        )
        self._per_epoch, self._step = len(stream) // stream.epochs, 0

    @property
    def watched(self) -> tuple[Bad, ...]:
        """Images that could not be decoded."""
        return (self.stream.bad,)

    def task(self) -> Task:
        """The fine-tuning as the loop knows it: it writes down, looks at its weights and saves after every epoch."""
        cfg, every = self.cfg, self._per_epoch
        train = TrainConfig(
            len(self.stream), self.stream.size, cfg.micro_batch_size, cfg.precision, cfg.device, cfg.seed,
            val_every=every, checkpoint_every=every, log_every=every, sinks=cfg.sinks,
        )  # fmt: skip
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(cfg).items()}
        return Task(
            cfg.out, train, GuardConfig(), cfg.clip_norm, "the same command with --resume", begins=every, values=values
        )

    def batches(self, state: TrainState, steps: int) -> Generator[Numbered, None, None]:
        """This rank's share of each batch, with its step: mixup is drawn by that."""
        self._step = state.step
        with closing(iter(replace(self.stream, start=state.step))) as batches:
            for step in range(state.step, state.step + steps):
                yield next(batches), step

    def count(self, batch: Numbered) -> int:
        """Its images."""
        return len(batch[0].images)

    def set_rate(self, step: int) -> float:
        """A cosine after a linear warm-up, scaled for each block."""
        self._step = step
        return optimizers.set_lr(self.optimizer, step, len(self.stream), self.cfg, self._per_epoch)

    def accumulate(self, batch: Numbered, count: int) -> Share:
        """Cross-entropy with labels as soft as mixup makes them; gradients are summed over the ranks."""
        (given, step), device = batch, self.model.device
        images = Backbone.normalized(given.images, self.model.about, device)
        inputs, wanted = self._mixed(images, given.labels.to(device), step)
        loss = self.model.differentiate(inputs, lambda logits: F.cross_entropy(logits, wanted, reduction="sum") / count)
        if self.ranks.size > 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.copy_(self.ranks.all_sum(parameter.grad))
        return Share([loss])

    def _mixed(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """timm's mixup, drawn from the seed and the step alone; without it, labels as they are."""
        classes = len(self.model.classes)
        if not self.cfg.mixup or len(images) % 2:
            return images, F.one_hot(labels, classes).float()
        from timm.data.mixup import Mixup

        mix: Any = Mixup(  # type: ignore[no-untyped-call]
            mixup_alpha=self.cfg.mixup, label_smoothing=0.0, num_classes=classes
        )
        with all_seeded(rng_at(self.cfg.seed, Stream.MIXUP, step)):
            found: tuple[Tensor, Tensor] = mix(images.clone(), labels)
        return found

    def updated(self, images: int) -> None:
        """Nothing follows the weights."""

    def keys(self, batch: Numbered) -> list[list[str]]:
        """All in one: the classifier sees them together."""
        return [batch[0].keys]

    def figures(self, images_per_s: float) -> dict[str, float]:
        """The epochs done."""
        return {"epoch": (self._step + 1) // self._per_epoch}

    def validate(self, shown: Shown, stopped: Stopped, last: bool) -> dict[str, Any]:
        """No figure: the test images are looked at once, at the end. DivergedError when a weight that learns is not
        finite any more: such weights are not worth saving."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
                raise DivergedError(
                    f"after update {self._step + 1} {name} holds numbers that are not finite. Try a lower --lr (it is "
                    f"{self.cfg.peak_lr:g}) or --weight-decay (it is {self.cfg.weight_decay:g}), in a new --out"
                )
        return {}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What learns, and the optimizer."""
        return {"model": self.model.learned(), "optimizer": optimizer_tensors(self.optimizer, self.model)}

    def stamp(self) -> dict[str, Any]:
        """Nothing: config.json beside the checkpoints holds what a fine-tuning must go on with."""
        return {}

    def begun(self) -> TrainState:
        """The start."""
        return TrainState(train_images=len(self.stream.indices))

    def resumed(self, saved: Mapping[str, Any]) -> TrainState:
        """The saved state; checkpoints of earlier versions hold step and time alone."""
        known = {field.name for field in fields(TrainState)}
        values = {name: value for name, value in saved.items() if name in known}
        values["guard"] = GuardState(**values.get("guard", {}))
        return TrainState(**{"position": saved["step"] * self.stream.size, **values})
