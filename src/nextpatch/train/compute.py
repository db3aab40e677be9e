"""The device and number format of a run, and how its pixels become the model's input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.data.views import to_model_input
from nextpatch.model.precision import Dtype, autocast, resolve_device, resolve_precision
from nextpatch.runs.recipe import Recipe


@dataclass(frozen=True)
class Compute:
    """Device, precision and pixel statistics: what training and validation must share."""

    device: torch.device
    precision: Dtype
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> Compute:
        """As the recipe says; "auto" becomes what this machine has. UserError for a device that is not there."""
        device = resolve_device(recipe.train.device)
        mean, std = recipe.data.statistics(recipe.model.in_chans)
        return cls(device, resolve_precision(recipe.train.precision, device), mean, std)

    def inputs(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalized images on the device."""
        return to_model_input(images, self.mean, self.std, self.device)

    def autocast(self) -> torch.autocast:
        """The context of every forward pass."""
        return autocast(self.device, self.precision)
