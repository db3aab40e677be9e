"""A backbone made ready to compute: on a device, its matrices in the number format that is fastest there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from nextpatch.model.precision import Dtype, autocast, resolve_device, resolve_precision
from nextpatch.weights.backbone import Backbone


@dataclass(frozen=True)
class InferenceModel:
    """A backbone, frozen, on one device; bytes travel there, not floats."""

    backbone: Backbone
    device: torch.device
    precision: Dtype

    @classmethod
    def of(cls, backbone: Backbone, device: str = "auto", precision: str = "auto") -> InferenceModel:
        """On `device`; with bfloat16 the trunk's matrices are converted once, in place, not at every product.

        Residual stream, norms, softmax inputs of the classifier and pooling stay float32.
        """
        where = resolve_device(device)
        kind = resolve_precision(precision, where)
        backbone.requires_grad_(False).to(where)
        if kind == "bf16":
            for module in backbone.trunk.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        return cls(backbone, where, kind)

    @torch.no_grad()
    def features(
        self, images: UInt8[Tensor, "batch channels height width"], layers: Sequence[str]
    ) -> dict[str, Tensor]:
        """The outputs named in `layers`, "batch patches dim", on the device."""
        with autocast(self.device, self.precision):
            return self.backbone.features(self.backbone.inputs(images), layers)

    @torch.no_grad()
    def read(self, images: UInt8[Tensor, "batch channels height width"]) -> Tensor:
        """The mean of the layers read by default, "batch patches dim", float32."""
        with autocast(self.device, self.precision):
            return self.backbone.read(self.backbone.inputs(images))

    @torch.no_grad()
    def logits(self, images: UInt8[Tensor, "batch channels height width"]) -> Tensor:
        """Class logits, "batch classes", float32; WeightsError when there is no classifier."""
        return self.backbone.classify(self.read(images))

    @torch.no_grad()
    def pooled(self, images: UInt8[Tensor, "batch channels height width"]) -> Tensor:
        """One vector an image, "batch values", float32."""
        return self.backbone.pool(self.read(images))
