"""Images larger than a model: tiles that overlap, one after another, and results that are blended into one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Num, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """A part of an image, in pixels. `above` rows and `before` columns of it are shared with tiles that came earlier,
    `below` rows and `behind` columns with tiles that come later; all 0 at the borders of the image.
    """

    top: int
    left: int
    height: int
    width: int
    above: int = 0
    before: int = 0
    below: int = 0
    behind: int = 0

    def of(self, image: Shaped[Tensor, "*any image_height image_width"]) -> Shaped[Tensor, "*any height width"]:
        """This part of an image, as a view."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def times(self, factor: int) -> Tile:
        """The same part of an image that is so many times larger."""
        return Tile(*(factor * one for one in self.__dict__.values()))


def tiles_of(size: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int]) -> Iterator[Tile]:
    """Tiles of one size, (height, width), that cover an image, in raster order.

    Neighbors share `overlap` rows and columns, the last ones more where the image does not divide. ValueError for a
    tile that is larger than the image, and for an overlap that leaves no room to move on.
    """
    rows, columns = (_spans(*one) for one in zip(size, tile, overlap, strict=True))
    for top, above, below in rows:
        for left, before, behind in columns:
            yield Tile(top, left, *tile, above, before, below, behind)


def _spans(size: int, tile: int, overlap: int) -> list[tuple[int, int, int]]:
    """Where each begins along one axis, and how much it shares with the one before and the one after."""
    if not 0 <= overlap < tile <= size:
        raise ValueError(f"tiles of {tile} px that share {overlap} px cannot cover {size} px")
    starts = [*range(0, size - tile, tile - overlap), size - tile]
    shared = [0, *(start + tile - after for start, after in pairwise(starts)), 0]
    return [(start, shared[at], shared[at + 1]) for at, start in enumerate(starts)]


def blend(
    image: Num[Tensor, "channels height width"], tile: Tile, made: Num[Tensor, "channels ..."], kept: int = 0
) -> None:
    """Put what was made of a tile into the image, in place: what earlier tiles share with it fades from theirs to it.

    The first `kept` pixels of what is shared stay as they are; over the rest the weight rises linearly. Where both are
    equal the result is that, to the last bit. Whole numbers are rounded. Nothing is needed beside the image.
    """
    old = tile.of(image)
    down = _rising(tile.height, tile.above, kept, image.device)
    across = _rising(tile.width, tile.before, kept, image.device)
    weight = down[:, None] * across
    mixed = old.to(weight.dtype).lerp(made.to(weight.dtype), weight)
    old.copy_(mixed if image.is_floating_point() else mixed.round())


def _rising(length: int, shared: int, kept: int, device: torch.device) -> Float[Tensor, " length"]:
    """From 0 to 1 along what is shared, then 1; float64, in which whole numbers stay exact."""
    place = torch.arange(length, dtype=torch.float64, device=device)
    ramp = (place - kept + 1) / (max(shared - kept, 0) + 1)
    return torch.where(place < shared, ramp.clamp(0.0, 1.0), 1.0)
