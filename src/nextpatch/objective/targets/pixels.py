"""Targets in pixels: normalized patch by patch, as in the paper, or as they are; compared by squared error."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.objective import Fill
from nextpatch.objective.targets.target import TargetWords
from nextpatch.patches import normalize_patches, patch_statistics


class Pixels:
    """The pixels of the patch (row "pixels" of Table 3a)."""

    unit = "squared error"
    words = TargetWords("the pixels of each patch after the prefix.", "", "mean grey")

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg

    @staticmethod
    def outputs(cfg: ModelConfig) -> int:
        """P * P * C."""
        return cfg.patch_dim

    def wanted(self, chosen: Chosen) -> Float[Tensor, "*rows values"]:
        """The patches themselves."""
        return chosen.patches

    def losses(
        self, predicted: Float[Tensor, "*rows values"], wanted: Float[Tensor, "*rows values"]
    ) -> Float[Tensor, "*rows"]:
        """The mean over the values of a patch (equation 2)."""
        return squared_error(predicted, wanted).mean(dim=-1)

    def loss_sum(
        self, predicted: Float[Tensor, "rows values"], wanted: Float[Tensor, "rows values"]
    ) -> Float[Tensor, ""]:
        """One sum over everything, divided once."""
        return squared_error(predicted, wanted).sum() / self.cfg.patch_dim

    def guess(self) -> Float[Tensor, " values"]:
        """Zero: the data's mean."""
        return torch.zeros(self.cfg.patch_dim)

    def perfect(self, wanted: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """Outputs without an error: the target itself."""
        return wanted

    def pixels(
        self, predicted: Float[Tensor, "*rows values"], chosen: Chosen, fill: Fill | None
    ) -> Float[Tensor, "*rows values"]:
        """Nothing is left out."""
        return predicted.to(chosen.images.dtype)


class NormalizedPixels(Pixels):
    """Each patch by its own mean and deviation (section 4.1, the paper's choice).

    Zero guesses each patch's own mean. Flat patches are guessed perfectly, so on images with plain backgrounds the
    baseline lies well below 1.
    """

    words = TargetWords(
        "each patch after the prefix, minus its own mean and divided by its own standard deviation.",
        "mean and variance",
        "the mean of each patch",
    )

    def wanted(self, chosen: Chosen) -> Float[Tensor, "*rows values"]:
        """(x - mean) / sqrt(variance + eps)."""
        return normalize_patches(chosen.patches)

    def pixels(
        self, predicted: Float[Tensor, "*rows values"], chosen: Chosen, fill: Fill | None
    ) -> Float[Tensor, "*rows values"]:
        """Mean and deviation are put back: see `with_statistics`."""
        return with_statistics(predicted, chosen, fill)


def with_statistics(
    values: Float[Tensor, "*rows values"], chosen: Chosen, fill: Fill | None
) -> Float[Tensor, "*rows values"]:
    """Normalized patches with mean and deviation: those of each patch, or of `fill`, whose channels vary fastest."""
    patches = chosen.patches
    if fill is None:
        mean, deviation = patch_statistics(patches)
    else:
        times = patches.shape[-1] // len(fill.mean)
        mean, deviation = (v.to(patches).repeat(times) for v in (fill.mean, fill.deviation))
    return (values * deviation + mean).to(patches.dtype)


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Elementwise, never in half precision."""
    wide = predicted if predicted.dtype == torch.float64 else predicted.float()
    return (wide - wanted.to(wide.dtype)).square()
