"""Fits a tokenizer on the training images of a recipe, measures it on those held out, and writes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.output import check_file
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.data.collection import Collection, open_collection, outside, relative
from nextpatch.data.loader import TrainStream
from nextpatch.data.skipped import by_kind
from nextpatch.model.precision import resolve_device
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.tokenizer.config import FitConfig
from nextpatch.tasks.tokenizer.quality import Quality, quality
from nextpatch.tokenizer.artifact import Artifact, TokenizerFacts, write_artifact, written_with
from nextpatch.tokenizer.names import FITS
from nextpatch.tokenizer.tokenizer import tokenizer_of
from nextpatch.tokenizer.views import Views
from nextpatch.train.heldout import held_out, training_order


@dataclass(frozen=True)
class Fitted:
    """A tokenizer that was written to `out`, and how good it is."""

    out: Path
    facts: TokenizerFacts
    quality: Quality
    digest: str
    left_out: str
    skipped: str  # images that could not be used, counted by reason; empty when all could

    def __fspath__(self) -> str:
        return str(self.out)

    def __str__(self) -> str:
        """What it is, line by line."""
        facts = self.facts
        what = f"{facts.codes:,} codes ({facts.kind}), patches of {facts.patch_size} x {facts.patch_size}"
        lines = [f"{what}, channels: {facts.in_chans}", *self.quality.lines(facts.codes, self.left_out)]
        return "\n".join([*lines, *([f"skipped: {self.skipped}"] if self.skipped else [])])


def check_new(out: Path, data: tuple[str, ...] = ()) -> None:
    """ConfigError where a tokenizer is already, UserError where none can be written."""
    if os.path.lexists(out):
        raise ConfigError(f"{shown(out)} exists already; choose another --out, or remove it")
    outside(out, data)
    check_file(out, beside=[written_with(out)])


def fit_tokenizer(config: FitConfig, recipe: Recipe) -> Fitted:
    """Fit on views as a run of `recipe` (with nothing left to choose) gives them; measure on its held-out images.

    Nothing is written before the end: an interrupted fit leaves nothing. The file is the same for any number of
    workers. Raises ConfigError for an output that is there, DataError for images that cannot be used, TokenizerError
    when the kind cannot be fitted on them.
    """
    FITS.check(config.kind)
    check_new(config.out, recipe.data.train)
    with phase("opening the images"):
        train = open_collection(recipe.data.train)
        views = views_of(config, recipe, train)
    made: Artifact = FITS[config.kind](views, config, recipe.model.patch_size, recipe.train.seed)
    found = tokenizer_of(made).to(views.device)
    with phase("measuring the error on held-out images"):
        measured = quality(found, held_out(recipe, train, recipe.data.workers))
    told = replace(made.facts, fitted={**_told(config, recipe, views), **measured.values(), **made.facts.fitted})
    whole = Artifact(told, made.tensors)
    write_artifact(config.out, whole)
    return Fitted(config.out, told, measured, whole.digest, found.left_out, by_kind(views.bad) if views.bad else "")


def views_of(config: FitConfig, recipe: Recipe, train: Collection) -> Views:
    """Training views, without the images that a run of the recipe holds out."""
    model, data = recipe.model, recipe.data
    order = training_order(recipe, train)
    stream = TrainStream(train.source, order, data, model.img_size, model.in_chans, recipe.train.seed, data.workers)
    device = resolve_device(recipe.train.device)
    mean, std = data.statistics(model.in_chans)
    return Views(stream, mean, std, min(config.images, len(order)), device)


def _told(config: FitConfig, recipe: Recipe, views: Views) -> dict[str, Any]:
    data = recipe.data
    return {
        "data": [relative(spec) for spec in data.train],
        "data_sha256": views.stream.digest,
        "images": views.images,
        "img_size": list(recipe.model.img_size),
        "crop_scale": list(data.crop_scale),
        "crop_ratio": list(data.crop_ratio),
        "flip": data.flip,
        "preprocessing": to_dict(data.preprocessing),
        "seed": recipe.train.seed,
        "skipped": len(views.bad),
    }
