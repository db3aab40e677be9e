"""Some of the held-out images, and the loss of always predicting the mean on exactly what validation scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nextpatch.objective.registry import objective_of
from nextpatch.runs.recipe import Recipe
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import HeldOut
from nextpatch.train.validation import validation_loss


def some(images: HeldOut, count: int) -> HeldOut:
    """`count` of them, evenly spread, read as they are; not those of which it is known that they do not decode."""
    usable = [index for index in images.indices.tolist() if images.source.key(index) not in images.bad]
    chosen = np.unique(np.linspace(0, len(usable) - 1, count).round().astype(np.int64))
    return replace(images, indices=np.array(usable, np.int64)[chosen], _kept=[])


def mean_guess_loss(recipe: Recipe, images: HeldOut) -> float:
    """The validation loss of the objective's baseline: same images, same draws, same sums as the model's."""
    objective = objective_of(recipe.model)
    # never on the run's own device: a page is often drawn on a machine that lacks it
    plain = Compute(torch.device("cpu"), "fp32", *recipe.data.statistics(recipe.model.in_chans))
    return validation_loss(objective, objective.baseline(), images, plain).loss
