"""Images enlarged by a model that learned to, in tiles where they are larger than what it sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from nextpatch.core.bounds import SEED
from nextpatch.core.random import Stream, rng_at
from nextpatch.model.config import ModelConfig
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.known import KnownPixels
from nextpatch.sampling.projection import project
from nextpatch.sampling.sampler import Sampler, check_low
from nextpatch.sampling.tiles import Tile, blend, tiles_of

_STRIP = 64  # rows of the smaller image that are made to agree at a time: float64 numbers are large

Said = Callable[[int], None]
"""Is told how many images' parts are finished."""


class Enlarger:
    """Enlarges images of any size from that of the model on, of any number of channels, by its factor or a power of it.

    Each tile knows the pixels that the tiles above and before it made, but for the last of what they share, which it
    makes anew; there the two are blended. Then the whole is projected: made smaller again it is the image that was
    given, to the last bit. Image i is a pure function of (weights, seed, i, settings), of its label and of what is
    enlarged. Beside the images and the result a tile for each row of a batch is in memory.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.cfg = sampler, sampler.model.cfg

    def passes(self, factor: int, size: tuple[int, int]) -> int:
        """How often the model is applied to images of (height, width) to enlarge them by `factor` (0: by its own).

        SamplingError for a factor that it did not learn, for images that are too small, and for another model.
        """
        return passes_of(self.cfg, factor, size)

    def parts(self, passes: int, size: tuple[int, int], count: int) -> int:
        """How many parts of images `enlarge` will finish for so many images."""
        sizes = [tuple(side * self.cfg.upscale**done for side in size) for done in range(passes)]
        return count * sum(len(list(_tiles(self.cfg, (height, width)))) for height, width in sizes)

    def enlarge(
        self,
        low: UInt8[Tensor, "channels height width"],
        seed: int,
        numbers: Sequence[int],
        labels: Sequence[int] | None = None,
        passes: int = 1,
        said: Said = lambda count: None,
    ) -> UInt8[Tensor, "images channels out_height out_width"]:
        """Alternatives by their numbers; `labels`, of classes, in their order; `said` hears of what is finished."""
        images = low.expand(len(numbers), -1, -1, -1)
        for done in range(passes):
            images = self._once(images, seed, done, numbers, labels, said)
        return images if passes == 1 else self._agreeing(images, low.expand(len(numbers), -1, -1, -1))

    def _once(
        self, low: Tensor, seed: int, done: int, numbers: Sequence[int], labels: Sequence[int] | None, said: Said
    ) -> UInt8[Tensor, "images channels out_height out_width"]:
        """By the factor of the model, once."""
        factor, (count, channels, height, width) = self.cfg.upscale, low.shape
        out = torch.zeros(count, channels, height * factor, width * factor, dtype=torch.uint8)
        for place, tile in enumerate(_tiles(self.cfg, (height, width))):
            large, small = tile.times(factor), tile.of(low)
            known = KnownPixels(large.of(out).clone(), _known(self.cfg, large).expand(count, -1, -1, -1))
            for some in self.sampler.sample(_seed(seed, done, place), numbers, labels, known, small):
                for at, made in zip(some.places, some.images, strict=True):
                    blend(out[at], large, made, _kept(self.cfg))
                said(len(some.places))
        return self._agreeing(out, low)

    @staticmethod
    def _agreeing(out: Tensor, low: Tensor) -> Tensor:
        """Projected, in place."""
        factor = out.shape[2] // low.shape[2]
        for top in range(0, low.shape[2], _STRIP):
            strip = slice(top * factor, (top + _STRIP) * factor)
            out[:, :, strip] = project(out[:, :, strip], low[:, :, top : top + _STRIP], factor)
        return out


def passes_of(cfg: ModelConfig, factor: int, size: tuple[int, int]) -> int:
    """As `Enlarger.passes`."""
    check_low(cfg, torch.empty(1, cfg.in_chans, *(side // max(cfg.upscale, 1) for side in cfg.img_size)))
    own = cfg.upscale
    count = round(math.log(factor or own, own))
    if own**count != (factor or own) or count < 1:
        raise SamplingError(
            f"these weights enlarge by {own}, and the factor {factor} is not {own}, {own**2} or another power of it; "
            f"leave --factor out{f', or train with --model.upscale {factor}' if 2 <= factor <= 4 else ''}"
        )
    least = tuple(side // own for side in cfg.img_size)
    if size[0] < least[0] or size[1] < least[1]:
        raise SamplingError(
            f"the image is {size[1]} x {size[0]} px, and these weights enlarge images of {least[1]} x {least[0]} px "
            "and more; give a larger one, or train on smaller images: --model.img-size"
        )
    return count


def _tiles(cfg: ModelConfig, size: tuple[int, int]) -> Iterator[Tile]:
    """Of a low-resolution image; they share about a patch."""
    tile = cfg.img_size[0] // cfg.upscale, cfg.img_size[1] // cfg.upscale
    rows, columns = (min(_shared(cfg) // cfg.upscale, side - 1) for side in tile)
    return tiles_of(size, tile, (rows, columns))


def _shared(cfg: ModelConfig) -> int:
    """Pixels of the enlarged image that tiles share."""
    return -(-cfg.patch_size // cfg.upscale) * cfg.upscale


def _kept(cfg: ModelConfig) -> int:
    """How many of them stay as the first tile made them, at least."""
    return _shared(cfg) // 2


def _known(cfg: ModelConfig, tile: Tile) -> Bool[Tensor, "1 height width"]:
    """The pixels of a tile that are not made anew."""
    anew = _shared(cfg) - _kept(cfg)
    known = torch.zeros(1, tile.height, tile.width, dtype=torch.bool)
    known[:, : max(0, tile.above - anew)] = True
    known[:, :, : max(0, tile.before - anew)] = True
    return known


def _seed(seed: int, done: int, place: int) -> int:
    """The seed itself for the first tile of the first pass, one of its own for every other."""
    if not done and not place:
        return seed
    words = rng_at(seed, Stream.TILE, done << 40 | place).bit_generator
    return int(words.random_raw()) & SEED[1]
