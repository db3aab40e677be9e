"""The model on its way: trunk (adapted, or all of it) and classifier, one update at a time, and its checkpoint."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, all_seeded, rng_at, torch_generator
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.precision import autocast, resolve_device, resolve_precision
from nextpatch.runs.checkpoint import Checkpoint
from nextpatch.tasks.finetune import optimizer as optimizers
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.lora import adapted, merged
from nextpatch.train.optimizer import optimizer_tensors, prepare_state
from nextpatch.weights.backbone import Backbone, mean_of
from nextpatch.weights.classifier import ClassifierHead


class DivergedError(UserError):
    """The training left the numbers that can be written; what was saved before is whole."""


class Learner(nn.Module):
    """What learns. The classifier reads the mean of the backbone's default layers (equation 4)."""

    def __init__(self, backbone: Backbone, cfg: FinetuneConfig, classes: tuple[str, ...], steps: int, per_epoch: int):
        super().__init__()
        self.cfg, self.classes, self.about = cfg, classes, backbone.about
        self.steps, self.per_epoch, self.step, self.elapsed_s = steps, per_epoch, 0, 0.0
        self.device = resolve_device(cfg.device)
        self.precision = resolve_precision(cfg.precision, self.device)
        model = backbone.aim
        self.depth = model.cfg.shape.depth
        self.peft: Any = None
        if cfg.full:
            model.head.requires_grad_(False)
            self.trunk: nn.Module = model
        else:
            self.peft = adapted(model, cfg.rank, cfg.alpha, cfg.seed)
            self.trunk = self.peft
        self.model = model
        self.classifier = _classifier(backbone, len(classes), cfg.seed)
        self.to(self.device).train()
        self.optimizer = optimizers.build(self.trunk, self.classifier, cfg, self.depth)
        prepare_state(self.optimizer)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, float32, of normalized images."""
        logits: Tensor = self.classifier(self._read(images))
        return logits

    def update(self, images: Tensor, labels: Tensor) -> float:
        """One update on a batch of normalized images; returns its loss. Mixed labels are as soft as mixup makes them.

        The whole batch goes through the classifier at once (its batch norm), through the trunk in micro-batches whose
        activations are computed again for the gradients.
        """
        inputs, wanted = self._mixed(images.to(self.device), labels.to(self.device))
        optimizers.set_lr(self.optimizer, self.step, self.steps, self.cfg, self.per_epoch)
        loss = self._differentiate(inputs, wanted)
        learning = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(learning, self.cfg.clip_norm)
        self._check(float(loss.detach()), float(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return float(loss.detach())

    def _check(self, loss: float, norm: float) -> None:
        """DivergedError, before the update, when the step must not be taken."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise DivergedError(
                f"update {self.step + 1}: loss {loss}, gradient norm {norm}; stopped before the update. Try a lower "
                f"--lr (it is {self.cfg.peak_lr:g}) or --precision fp32, in a new --out"
            )

    def check_weights(self) -> None:
        """DivergedError when a weight that learns is not finite any more: such weights are not worth saving."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
                raise DivergedError(
                    f"after update {self.step} {name} holds numbers that are not finite. Try a lower --lr (it is "
                    f"{self.cfg.peak_lr:g}) or --weight-decay (it is {self.cfg.weight_decay:g}), in a new --out"
                )

    def _differentiate(self, inputs: Tensor, wanted: Tensor) -> Tensor:
        parts = torch.split(inputs, self.cfg.micro_batch_size)
        if len(parts) == 1:
            loss = F.cross_entropy(self(inputs), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss
        with torch.no_grad():
            read = torch.cat([self._read(part) for part in parts])
        read.requires_grad_()
        loss = F.cross_entropy(self.classifier(read), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        assert read.grad is not None
        for part, gradient in zip(parts, torch.split(read.grad, self.cfg.micro_batch_size), strict=True):
            self._read(part).backward(gradient)  # type: ignore[no-untyped-call]
        return loss

    def _read(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            features = self.model.features(images, self.about.layers)
        return mean_of(features, self.about.layers)

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """timm's mixup, drawn from the seed and the step alone; without it, labels as they are."""
        if not self.cfg.mixup or len(images) % 2:
            return images, F.one_hot(labels, len(self.classes)).float()
        from timm.data.mixup import Mixup

        mix: Any = Mixup(  # type: ignore[no-untyped-call]
            mixup_alpha=self.cfg.mixup, label_smoothing=0.0, num_classes=len(self.classes)
        )
        with all_seeded(rng_at(self.cfg.seed, Stream.MIXUP, self.step)):
            found: tuple[Tensor, Tensor] = mix(images.clone(), labels)
        return found

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds: everything that learns, the batch norm's statistics, the optimizer."""
        learns = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return {
            "model": {**learns, **{name: b for name, b in self.named_buffers() if ".bn." in f".{name}"}},
            "optimizer": optimizer_tensors(self.optimizer, self),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what `state` gave, each tensor on the device that it is on."""
        for name, tensors in self.state().items():
            checkpoint.load_into(name, tensors)
        self.step, self.elapsed_s = checkpoint.step, float(checkpoint.state.get("elapsed_s", 0.0))

    def result(self) -> Backbone:
        """The backbone that came out, with its classifier; adapters are merged, and the learner is used up."""
        model = self.model if self.peft is None else merged(self.peft)
        readout = ClassifierHead(self.classifier.eval(), self.about.layers, self.classes)
        return Backbone(model, self.about, readout)


def _classifier(backbone: Backbone, classes: int, seed: int) -> AttentiveClassifier:
    """At the start of a probe: Xavier keys and values."""
    about = backbone.about
    found = AttentiveClassifier(about.dim, about.num_heads, classes)
    generator = torch_generator(seed)
    bound = (3 / about.dim) ** 0.5
    with torch.no_grad():
        found.cls_token.normal_(std=0.02, generator=generator)
        for matrix in (found.k.weight, found.v.weight):
            matrix.uniform_(-bound, bound, generator=generator)
        found.linear.weight.normal_(std=0.01, generator=generator)
        found.linear.bias.zero_()
    return found
