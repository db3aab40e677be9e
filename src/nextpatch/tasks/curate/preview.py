"""A few images and what a model gets of them: training views with what is given, the target, the evaluation view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.formats import ending_of
from nextpatch.data.permute import key_of, permuted
from nextpatch.data.skipped import Bad, none_decodes, skipped
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.views import crop_box, eval_view, to_model_input, to_pixels, train_view
from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Draws, Objective, Words, grey, scored_patches
from nextpatch.objective.registry import objective_of
from nextpatch.patches import by_pixel
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.curate.samples import relative

VIEWS = 3  # training views of each image
_TRIES = 10_000


@dataclass(frozen=True)
class View:
    """A training view, the crop it is made from as (top, left, height, width), and what was drawn for it."""

    image: UInt8[Tensor, "channels height width"]
    box: tuple[int, int, int, int]
    flipped: bool
    given: Bool[Tensor, " patches"]
    told: str  # the draw, in words


@dataclass(frozen=True)
class Row:
    """One image. `target`, in [0, 1], is what must be predicted in the first view; grey where nothing is scored."""

    key: str
    label: str
    ending: str
    size_bytes: int
    channels: int  # of the file; the tensors have the model's
    original: UInt8[Tensor, "channels rows columns"]
    views: tuple[View, ...]
    target: Float[Tensor, "channels height width"]
    evaluation: UInt8[Tensor, "channels height width"]
    pictures: int = 1  # that the file holds, of which the first is shown


@dataclass(frozen=True)
class Sheet:
    """The rows, what they were made for, and what was passed over."""

    name: str
    rows: tuple[Row, ...]
    model: ModelConfig
    data: DataConfig
    words: Words
    bad: Bad


def preview(source: Source, recipe: Recipe, images: int = 12, seed: int = 0) -> Sheet:
    """`images` images chosen by `seed`, in the order of the source, with views as training draws them.

    Crops, flips and prefixes follow the rules and the draws of training; they belong to the positions 0, 1, 2 ... of a
    run with this seed, though it shows other images there. What cannot be used is passed over. DataError when nothing
    can.
    """
    if images < 1:
        raise UserError(f"images {images} must be at least 1")
    source = sparse(source)
    rows: dict[int, Row] = {}
    bad: Bad = {}
    for index in _chosen(len(source), seed):
        if len(rows) == images:
            break
        try:
            rows[index] = _row(source, index, recipe, seed, VIEWS * len(rows))
        except (BadImage, OSError) as error:
            bad[source.key(index)] = skipped(error, source.name)
    if not rows:
        raise none_decodes(source.name, bad)
    return Sheet(
        source.name,
        tuple(rows[i] for i in sorted(rows)),
        recipe.model,
        recipe.data,
        objective_of(recipe.model).words,
        bad,
    )


def _chosen(count: int, seed: int) -> Iterator[int]:
    """Samples in an order that belongs to the seed."""
    for number in range(min(count, _TRIES)):
        yield int(permuted(np.array([number]), count, key_of(seed, Stream.PREVIEW))[0])


def _row(source: Source, index: int, recipe: Recipe, seed: int, position: int) -> Row:
    """An image with views as at `position` and those after it. BadImage or OSError when it cannot be used."""
    data, cfg, label = source.read(index), recipe.model, source.label(index)
    reading = recipe.data.preprocessing
    found, image = header(data, reading), decode(data, cfg.in_chans, reading)
    positions, objective = torch.arange(position, position + VIEWS), objective_of(cfg)
    draws = objective.draw(seed, positions)
    views = tuple(
        _view(image, recipe, seed, at, given, told)
        for at, given, told in zip(positions.tolist(), objective.given(draws), objective.told(draws), strict=True)
    )
    return Row(
        relative(source.key(index), source.name),
        "" if label is None else source.classes[label],
        ending_of(data) or "",
        len(data),
        found.channels,
        image,
        views,
        _target(views[0].image, objective, draws.part(0, 1), recipe),
        eval_view(image, cfg.img_size, reading),
        found.pictures if reading.pages == "first" else 1,
    )


def _view(
    image: UInt8[Tensor, "channels rows columns"], recipe: Recipe, seed: int, position: int,
    given: Bool[Tensor, " patches"], told: str,
) -> View:  # fmt: skip
    """The view of a position; crop and flip are drawn a second time, to be shown."""
    cfg, rng = recipe.data, rng_at(seed, Stream.VIEW, position)
    box = crop_box(image.shape[1], image.shape[2], cfg, rng)
    flipped = bool(rng.random() < cfg.flip)
    return View(
        train_view(image, recipe.model.img_size, cfg, rng_at(seed, Stream.VIEW, position)), box, flipped, given, told
    )


def _target(
    image: UInt8[Tensor, "channels height width"], objective: Objective, draws: Draws, recipe: Recipe
) -> Float[Tensor, "channels height width"]:
    """What the head must output, around middle grey where the target leaves something out."""
    cfg, (mean, std) = recipe.model, recipe.data.statistics(recipe.model.in_chans)
    inputs = to_model_input(image[None], mean, std)
    drawn = to_pixels(objective.target(inputs, draws, grey(mean, std)), mean, std)
    scored = by_pixel(scored_patches(objective, draws), cfg.grid, cfg.patch_size)
    return torch.where(scored, drawn, 0.5)[0].clamp(0, 1)
