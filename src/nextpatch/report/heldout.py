"""Some of the held-out images, and the loss of always guessing the mean on exactly what validation scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.aim import AIM, Mode
from nextpatch.runs.recipe import Recipe
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import HeldOut
from nextpatch.train.validation import validation_loss


def some(images: HeldOut, count: int) -> HeldOut:
    """`count` of them, evenly spread, read as they are; not those of which it is known that they do not decode."""
    usable = [index for index in images.indices.tolist() if images.source.key(index) not in images.bad]
    chosen = np.unique(np.linspace(0, len(usable) - 1, count).round().astype(np.int64))
    return replace(images, indices=np.array(usable, np.int64)[chosen], _kept=[])


class MeanGuess(AIM):
    """Predicts zero everywhere: each patch's own mean for normalized targets, the data's mean for pixels.

    Flat patches are guessed perfectly, so on images with plain backgrounds this level lies well below 1.
    """

    def predict(
        self,
        images: Float[Tensor, "batch channels height width"],
        prefix_len: Int[Tensor, " batch"] | None = None,
        mode: Mode = "prefix",
    ) -> Float[Tensor, "batch patches values"]:
        """Zeros in target space; looks at nothing."""
        return torch.zeros(len(images), self.cfg.num_patches, self.cfg.patch_dim, device=images.device)


def mean_guess_loss(recipe: Recipe, images: HeldOut) -> float:
    """The validation loss of `MeanGuess`: same images, same prefixes, same sums as the model's."""
    with torch.device("meta"):  # its parameters are never read, so none are made
        guess = MeanGuess(recipe.model)
    # never on the run's own device: a page is often drawn on a machine that lacks it
    plain = Compute(torch.device("cpu"), "fp32", *recipe.data.statistics(recipe.model.in_chans))
    return validation_loss(guess, images, plain).loss
