"""The training images that are nearest to samples, pixel by pixel, and how near held-out images come to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from nextpatch.core.progress import Meter
from nextpatch.data.collection import Collection, open_collection
from nextpatch.data.error import DataError
from nextpatch.data.loader import Batch, eval_batches
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.storage.location import is_remote
from nextpatch.measure.distances import NearestVectors
from nextpatch.runs.recipe import Recipe
from nextpatch.train.heldout import HeldOut, held_out_parts

LIMIT_S = 20.0  # for decoding and comparing
_TRIED, _SHOWN, _BATCH = 128, 3, 64
Pictures = UInt8[Tensor, "_ channels height width"]
NearRow = tuple[Pictures, tuple[str, ...]]  # a sample and its neighbors, and what is said below each


@dataclass(frozen=True)
class Compared:
    """With how many of the training images samples were compared, and the distances to the nearest, samples' and those
    of held-out images: root of the mean squared difference of values in [0, 1]."""

    images: int
    of: int
    samples: tuple[float, ...]
    held_out: tuple[float, ...]


def nearest_training_images(recipe: Recipe, samples: Pictures, held: HeldOut | None) -> tuple[list[NearRow], Compared]:
    """A row for each sample, in the size of the model; mirrored training images count too where a run mirrors them.

    As many training images are looked at, evenly spread, as there is time for. DataError where they are gone, or lie on
    another machine.
    """
    train = open_collection(recipe.data.train)
    if any(part.remote or is_remote(part.key(0)) for part in train.parts):
        raise DataError("the training images lie on another machine, and all of them would be fetched")
    learned = _learned(recipe, train)
    known = torch.cat([batch.images for batch in held]) if held is not None else samples[:0]
    near = NearestVectors(torch.cat([samples, known]).flatten(1), _SHOWN)
    copies = 2 if recipe.data.flip else 1
    places = _compare(near, recipe, train, learned, copies)
    rows = [_row(recipe, train, samples[at], near, at, places, copies) for at in range(len(samples))]
    first = near.distances[:, 0].tolist()
    return rows, Compared(len(places), len(learned), tuple(first[: len(samples)]), tuple(first[len(samples) :]))


def _learned(recipe: Recipe, train: Collection) -> Int64[np.ndarray, " images"]:
    """The numbers of those that are not held out."""
    firsts = np.cumsum([0, *map(len, train.parts)])
    held = [first + part for first, part in zip(firsts, held_out_parts(recipe, train), strict=False)]
    return np.setdiff1d(np.arange(len(train.source)), np.concatenate(held))


def _compare(
    near: NearestVectors, recipe: Recipe, train: Collection, learned: Int64[np.ndarray, " images"], copies: int
) -> list[int]:
    """The numbers of those that were looked at, in their order."""
    began_s = time.monotonic()
    tried = _spread(learned, _TRIED)
    for _ in _read(recipe, train, tried):
        pass
    spent_s = max(1e-3, time.monotonic() - began_s)
    chosen = _spread(learned, int(len(tried) / spent_s * LIMIT_S))
    places: list[int] = []
    with Meter("comparing with training images", len(chosen)) as meter:
        for batch in _read(recipe, train, chosen):
            pixels = batch.images
            every = [pixels, pixels.flip(3)][:copies]
            near.add(torch.stack(every, dim=1).flatten(0, 1).flatten(1))
            places += batch.positions.tolist()
            meter.add(len(batch.keys) + len(batch.bad))
            if time.monotonic() - began_s > 2 * LIMIT_S:
                break
    return places


def _spread(every: Int64[np.ndarray, " images"], count: int) -> Int64[np.ndarray, " chosen"]:
    count = max(1, min(count, len(every)))
    chosen: np.ndarray = every[np.linspace(0, len(every) - 1, count).round().astype(np.int64)]
    return chosen


def _read(recipe: Recipe, train: Collection, indices: Int64[np.ndarray, " images"]) -> Iterator[Batch]:
    cfg = recipe.model
    return eval_batches(
        sparse(train.source), indices, cfg.img_size, cfg.in_chans, _BATCH, preprocessing=recipe.data.preprocessing
    )


def _row(
    recipe: Recipe, train: Collection, sample: Tensor, near: NearestVectors, at: int, places: list[int], copies: int
) -> NearRow:
    pictures, notes = [sample], [""]
    for number, distance in zip(near.numbers[at].tolist(), near.distances[at].tolist(), strict=True):
        if number >= 0:
            [batch] = _read(recipe, train, np.array([places[number // copies]]))
            pictures.append(batch.images[0].flip(2) if number % copies else batch.images[0])
            notes.append(f"{distance:.3f}")
    return torch.stack(pictures), tuple(notes)
