"""What learns: a trunk (by adapters, or all of it) and a classifier on the mean of its default layers (equation 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.core.random import torch_generator
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.precision import autocast, resolve_device, resolve_precision
from nextpatch.tasks.finetune.batch_norm import RanksBatchNorm
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.lora import adapted, merged
from nextpatch.weights.backbone import Backbone, mean_of
from nextpatch.weights.classifier import ClassifierHead

LossSum = Callable[[Float[Tensor, "batch classes"]], Float[Tensor, ""]]


class Adapted(nn.Module):
    """The model on its way. It computes on `device`, in training mode; names of parameters are those of checkpoints."""

    def __init__(self, backbone: Backbone, cfg: FinetuneConfig, classes: tuple[str, ...], ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.classes, self.about, self.micro_batch_size = classes, backbone.about, cfg.micro_batch_size
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
        if ranks.size > 1:
            self.classifier.bn = RanksBatchNorm(backbone.about.dim, self.classifier.bn.eps, ranks)
        self.to(self.device).train()

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, float32, of normalized images."""
        logits: Tensor = self.classifier(self._read(images))
        return logits

    def differentiate(self, images: Float[Tensor, "batch channels height width"], loss_of: LossSum) -> Tensor:
        """Add the gradients of a loss of the logits to `.grad`; returns the loss.

        The whole batch goes through the classifier at once (its batch norm), through the trunk in micro-batches whose
        activations are computed again for the gradients.
        """
        parts = torch.split(images, self.micro_batch_size)
        if len(parts) == 1:
            loss = loss_of(self(images))
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        with torch.no_grad():
            read = torch.cat([self._read(part) for part in parts])
        read.requires_grad_()
        loss = loss_of(self.classifier(read))
        loss.backward()  # type: ignore[no-untyped-call]
        assert read.grad is not None
        for part, gradient in zip(parts, torch.split(read.grad, self.micro_batch_size), strict=True):
            self._read(part).backward(gradient)  # type: ignore[no-untyped-call]
        return loss.detach()

    def _read(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            features = self.model.features(images, self.about.layers)
        return mean_of(features, self.about.layers)

    def learned(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it: everything that learns, and the batch norm's statistics."""
        learns = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return {**learns, **{name: b for name, b in self.named_buffers() if ".bn." in f".{name}"}}

    def result(self) -> Backbone:
        """The backbone that came out, with its classifier; adapters are merged, and this module is used up."""
        model = self.model if self.peft is None else merged(self.peft)
        head = ClassifierHead(self.classifier.eval(), self.about.layers, self.classes)
        return Backbone(model, self.about, head)


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
