"""Before a run: a head that is a distribution is told how the patches of its images are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

from jaxtyping import Float
from torch import Tensor

from nextpatch.data.loader import TrainStream
from nextpatch.data.views import to_model_input
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.heads.distribution import Distribution
from nextpatch.model.start import low_res_of
from nextpatch.runs.recipe import Recipe

_IMAGES, _AT_A_TIME = 2048, 256  # views to measure, at most as many as there are images


def measure_patches(model: AIM, stream: TrainStream, recipe: Recipe, images: int = _IMAGES) -> None:
    """Measure the first training views of the run, all of them on every rank: the same figures everywhere.

    A model that enlarges is told mean and deviation. Nothing for others. A run that goes on has its figures in the
    checkpoints; until these are read, those of one image do.
    """
    mean, std = recipe.data.statistics(recipe.model.in_chans)
    if (told := low_res_of(model.start)) is not None:
        told.measure(mean, std)
    if isinstance(model.head, Distribution):
        model.head.measure(_patches(replace(stream, rank=0, ranks=1), recipe, images), mean, std)


def _patches(stream: TrainStream, recipe: Recipe, images: int) -> Iterator[Float[Tensor, "batch patches values"]]:
    """Of the views, normalized as the model gets them, on the CPU."""
    left = min(images, len(stream.mixture))
    with closing(stream.batches(0, min(left, _AT_A_TIME))) as batches:
        for batch in islice(batches, -(-left // _AT_A_TIME)):
            inputs = to_model_input(batch.images, *recipe.data.statistics(recipe.model.in_chans))
            yield patches_of(inputs, recipe.model)
