"""A photo whose holes are filled: what the model sees of it, and the same picture with other pixels in the holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from nextpatch.data.encoding import Given, encoded, name_of
from nextpatch.data.original import original
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.sampling.error import SamplingError
from nextpatch.tasks.generate.pictures import picture_of
from nextpatch.weights.given import pixels_of

_MARKED = np.array([255, 92, 57], np.uint8)  # of holes, where a picture shows them
_MOST_SHOWN = 512  # pixels of a side
_DEEP = 257  # 8 bits as 16


@dataclass(frozen=True)
class Photo:
    """`picture` in its own mode, and `pixels`, what a model sees of it."""

    picture: Image.Image
    pixels: UInt8[Tensor, "channels height width"]

    @classmethod
    def of(cls, image: Given, channels: int, preprocessing: Preprocessing) -> Photo:
        """DataError for what is no image; SamplingError for colors, and a model that makes grey images."""
        pixels = pixels_of(image, channels, preprocessing)
        found = original(encoded(image))
        if found is None or found.size != (pixels.shape[2], pixels.shape[1]):
            found = picture_of(pixels)
        if channels == 1 and _has_color(found):
            raise SamplingError(
                f"{name_of(image)} has colors and these weights make grey images; make it grey before, or give weights "
                "that learned images of 3 channels"
            )
        return cls(found, pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def filled(self, hole: Bool[Tensor, "height width"], made: UInt8[Tensor, "channels height width"]) -> Image.Image:
        """The picture with other pixels in the hole, opaque there; everywhere else to the last bit as it is."""
        mode = self.picture.mode
        values, there = np.array(self.picture), hole.numpy()
        new = picture_of(made)
        if mode == "I;16":
            values[there] = np.asarray(new.convert("L"), np.uint16)[there] * _DEEP
        else:
            values[there] = np.asarray(new.convert(mode))[there]
        return Image.fromarray(values)

    def shown(self, hole: Bool[Tensor, "height width"] | None = None) -> Image.Image:
        """Small, in RGB, with the hole marked."""
        return small_of(self.picture, hole)


def small_of(picture: Image.Image, hole: Bool[Tensor, "height width"] | None = None) -> Image.Image:
    """A picture of any mode in RGB, at most 512 pixels high and wide, with a hole marked in it."""
    if picture.mode == "I;16":
        picture = Image.fromarray((np.asarray(picture) // _DEEP).astype(np.uint8))
    if picture.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    values = np.array(picture.convert("RGB"))
    if hole is not None:
        values[hole.numpy()] = _MARKED
    found = Image.fromarray(values)
    found.thumbnail((_MOST_SHOWN, _MOST_SHOWN))
    return found


def _has_color(picture: Image.Image) -> bool:
    values = np.asarray(picture)
    return picture.mode in ("RGB", "RGBA") and bool((values[..., :3] != values[..., :1]).any())
