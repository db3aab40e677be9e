"""Holes in images of any size, filled tile by tile: each sees around it what is known and what earlier tiles made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.nn.functional import pad

from nextpatch.core.bounds import SEED
from nextpatch.core.random import Stream, rng_at
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.sampling.batches import Means
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.known import KnownPixels, seen_too_late
from nextpatch.sampling.sampler import Sampled, Sampler
from nextpatch.sampling.tiles import Tile, blend, tiles_of

_MOST_BYTES = 2**28  # of surroundings that are held together


@dataclass(frozen=True)
class HolePart:
    """A tile of what is filled, its number, and the pixels of it that are made."""

    tile: Tile
    number: int
    missing: Bool[Tensor, "height width"]


class Inpainter:
    """Fills holes by a model that generates. Image i is a pure function of (weights, seed, i, config), of the image and
    of the hole.

    `parts` are computed one after another; a hole that a single tile can hold is one, with the hole in its middle.
    Neighbors share half of a tile: one part of that is kept and seen, the other made anew, with sight of what lies
    behind it, and faded into. An image smaller than the model stands in the upper left corner of what is unknown.
    Memory: a few images, and the holes and their surroundings of as many alternatives as are computed together.
    SamplingError as `Sampler` has it.
    """

    def __init__(
        self, model: AIM, mean: Sequence[float], std: Sequence[float], config: SamplingConfig,
        hole: Bool[Tensor, "height width"],
    ) -> None:  # fmt: skip
        self.sampler = Sampler(model, mean, std, replace(config, average=1))
        self.times, self.size = config.average, (hole.shape[0], hole.shape[1])
        cfg = model.cfg
        self._larger = (max(0, cfg.img_size[0] - hole.shape[0]), max(0, cfg.img_size[1] - hole.shape[1]))
        self._hole = pad(hole, (0, self._larger[1], 0, self._larger[0]), value=True)
        self._shared, self._kept = _overlap(cfg)
        self.window = _window(self._hole, hole, cfg, self._kept)
        self.parts = list(_parts(self.window.of(self._hole), cfg, self._shared, self._kept))

    def seen_too_late(self) -> int:
        """Known patches that the model's order comes to behind one that has to be made; those cut by the hole are not
        counted, of which each sees at least its own."""
        cfg = self.sampler.model.cfg
        return sum(seen_too_late(cfg, ~part.missing[None, None], whole=True) for part in self.parts)

    def filled(
        self, image: UInt8[Tensor, "channels height width"], seed: int, numbers: Sequence[int],
        labels: Sequence[int] | None = None,
    ) -> Iterator[Sampled]:  # fmt: skip
        """The image with its hole filled, once for each number, as they are finished; `labels` as of `Sampler.sample`.

        With `average` above 1 image i is the mean of fillings i * average to (i + 1) * average - 1.
        """
        canvas = self.window.of(pad(image, (0, self._larger[1], 0, self._larger[0])))
        means, size, together = Means(self.times), self.sampler.batch_size, max(1, _MOST_BYTES // canvas.numel())
        every = [(n * self.times + o, place) for place, n in enumerate(numbers) for o in range(self.times)]
        for _, group in groupby(every, lambda one: (one[0] // size, one[0] % size // together)):
            some = list(group)
            told = None if labels is None else [labels[place] for _, place in some]
            made = self._made(canvas.expand(len(some), -1, -1, -1).clone(), seed, [number for number, _ in some], told)
            done = means.add([place for _, place in some], made if self.times == 1 else made.double())
            if done:
                yield Sampled(list(done), torch.stack([self._put_in(image, one) for one in done.values()]))

    def _made(
        self, canvases: UInt8[Tensor, "images channels height width"], seed: int, numbers: list[int],
        labels: list[int] | None,
    ) -> UInt8[Tensor, "images channels height width"]:  # fmt: skip
        """Every part of every image, in place."""
        for part in self.parts:
            known = KnownPixels(
                part.tile.of(canvases).clone(), (~part.missing).expand(len(canvases), 1, *part.missing.shape)
            )
            for found in self.sampler.sample(_seed(seed, part.number), numbers, labels, known):
                for place, pixels in zip(found.places, found.images, strict=True):
                    blend(canvases[place], part.tile, pixels, self._kept)
        return canvases

    def _put_in(self, image: Tensor, made: Tensor) -> UInt8[Tensor, "channels height width"]:
        """What was made, where the image has its hole."""
        found = pad(image, (0, self._larger[1], 0, self._larger[0]))
        self.window.of(found).copy_(made if made.dtype == torch.uint8 else made.round())
        height, width = self.size
        return torch.where(self._hole[:height, :width], found[:, :height, :width], image)


def _overlap(cfg: ModelConfig) -> tuple[tuple[int, int], int]:
    """Rows and columns that neighbors share, half a tile in whole patches; and how many of them the later one keeps."""
    rows, columns = (count // 2 * cfg.patch_size for count in cfg.grid)
    return (rows, columns), max(1, min(cfg.grid) // 4) * cfg.patch_size


def _window(padded: Tensor, hole: Tensor, cfg: ModelConfig, around: int) -> Tile:
    """The part of an image that is looked at: one tile around the hole, or more where that does not hold it."""
    spans = []
    for axis, tile in enumerate(cfg.img_size):
        there = hole.any(dim=1 - axis).nonzero()[:, 0].tolist() or [0]
        first, last, full = there[0], there[-1] + 1, padded.shape[axis]
        length = tile if last - first <= tile else min(full, last - first + 2 * around)
        spans.append((min(max(0, (first + last - length) // 2), full - length), length))
    (top, height), (left, width) = spans
    return Tile(top, left, height, width)


def _parts(
    hole: Bool[Tensor, "height width"], cfg: ModelConfig, shared: tuple[int, int], kept: int
) -> Iterator[HolePart]:
    """Tiles with something to make: the hole, but for what earlier tiles made of it and this one keeps."""
    made = torch.zeros_like(hole)
    for number, tile in enumerate(tiles_of((hole.shape[0], hole.shape[1]), cfg.img_size, shared)):
        keeps = torch.zeros(cfg.img_size, dtype=torch.bool)
        keeps[: min(kept, tile.above)] = True
        keeps[:, : min(kept, tile.before)] = True
        missing = tile.of(hole) & ~(tile.of(made) & keeps)
        if bool(missing.any()):
            yield HolePart(tile, number, missing)
            tile.of(made).logical_or_(missing)


def _seed(seed: int, number: int) -> int:
    """Of a tile: the first one has the seed itself."""
    return int(rng_at(seed, Stream.TILE, number).bit_generator.random_raw()) & SEED[1] if number else seed
