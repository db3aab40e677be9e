"""Where the holes of an image are: white in a mask, or a box; with a clear answer for what is neither."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown, whole_number
from nextpatch.data.encoding import Given, encoded, name_of
from nextpatch.data.original import original
from nextpatch.sampling.error import SamplingError
from nextpatch.weights.given import pixels_of

log = logging.getLogger(__name__)

_HOLE = 128  # from this on a pixel of a mask is a hole
_BLACK, _WHITE = 16, 239  # what a lossy file may make of them


def hole_of(mask: Given, box: str, size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    """The pixels that are to be made, of an image of this height and width; neither or both may be given.

    ConfigError for a box that is none or lies outside; SamplingError for a mask of another size and for no hole;
    DataError for what is no image.
    """
    hole = torch.zeros(size, dtype=torch.bool)
    if mask is not None:
        hole |= _of_mask(mask, size)
    if box:
        x, y, width, height = _numbers(box, size)
        hole[y : y + height, x : x + width] = True
    if bool(hole.all()):
        log.warning("the whole image is a hole: nothing of it is kept, and images are as those of nextpatch sample")
    return hole


def _of_mask(mask: Given, size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    values = _values(mask)
    if values.shape != size:
        (height, width), (rows, columns) = size, values.shape
        turned = "; it lies on its side" if (columns, rows) == size else ""
        raise SamplingError(
            f"{name_of(mask)} is {columns} x {rows} pixels and the image {width} x {height}{turned}; give a mask of "
            "the same size"
        )
    grey = int(((values > _BLACK) & (values < _WHITE)).sum())
    hole = values >= _HOLE
    if not bool(hole.any()):
        raise SamplingError(
            f"{name_of(mask)} has no hole: its brightest pixel is {int(values.max())} of 255; holes are white"
        )
    if grey:
        log.warning("%s has %s grey pixels; from %s of 255 on a pixel is a hole", name_of(mask), f"{grey:,}", _HOLE)
    return hole


def _values(mask: Given) -> UInt8[Tensor, "height width"]:
    """Grey values, on black where a mask is transparent; of truth values black and white."""
    mask = _in_numbers(mask)
    found: Tensor = pixels_of(mask, 1)[0]  # first, because it says plainly what is no image
    picture = original(encoded(mask))
    if picture is None or picture.mode == "I;16":
        return found
    black = Image.new("RGBA", picture.size, "black")
    flat = Image.alpha_composite(black, picture.convert("RGBA")) if picture.mode in ("LA", "RGBA") else picture
    return torch.from_numpy(np.array(flat.convert("L")))


def _in_numbers(mask: Any) -> Any:
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        return mask.byte() * 255
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        return mask.astype(np.uint8) * 255
    return mask


def _numbers(box: str, size: tuple[int, int]) -> tuple[int, ...]:
    """X, Y, width and height; ConfigError for others, and for a box that does not lie in the image."""
    found = [whole_number(word.strip()) for word in box.split(",")]
    numbers = tuple(one for one in found if one is not None)
    if len(found) != 4 or len(numbers) != 4:
        raise ConfigError(f"box '{shown(box)}' is not four whole numbers; give X,Y,W,H, such as 10,20,64,48")
    x, y, width, height = numbers
    if min(x, y) < 0 or min(width, height) < 1 or x + width > size[1] or y + height > size[0]:
        raise ConfigError(
            f"box '{shown(box)}' does not lie in the image, which is {size[1]} pixels wide and {size[0]} high; give "
            "X,Y,W,H, counted from the upper left corner"
        )
    return numbers
