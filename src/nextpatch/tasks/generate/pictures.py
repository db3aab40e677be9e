"""Pixels as pictures: one of Pillow for each image, and all of them on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from nextpatch.sampling.error import SamplingError

MOST_ON_SHEET = 400
_GROUND = (251, 251, 249)
_GAP, _WIDEST, _CELL = 4, 1204, 64  # pixels; a smaller image is enlarged to about _CELL


def picture_of(pixels: UInt8[Tensor, "channels height width"]) -> Image.Image:
    """Grey of 1 channel, RGB of 3, RGBA of 4; SamplingError for others, which no picture can hold."""
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    check_channels(len(pixels))
    return Image.fromarray(array[..., 0] if len(pixels) == 1 else array)


def check_channels(channels: int) -> None:
    """SamplingError where images of so many channels are no pictures."""
    if channels not in (1, 3, 4):
        raise SamplingError(
            f"images of {channels} channels are no pictures; sample them as arrays: "
            "nextpatch.sampling.sampler.Sampler(...).sample(...)"
        )


def sheet_of(pictures: Sequence[Image.Image]) -> Image.Image:
    """The first pictures side by side, of one size, in rows; small ones are enlarged by a whole factor."""
    shown = pictures[:MOST_ON_SHEET]
    width, height = shown[0].size
    scale = max(1, _CELL // max(width, height))
    width, height = width * scale + _GAP, height * scale + _GAP
    across = min(max(1, (_WIDEST - _GAP) // width), _across(len(shown)))
    down = -(-len(shown) // across)
    sheet = Image.new("RGB", (across * width + _GAP, down * height + _GAP), _GROUND)
    for number, one in enumerate(shown):
        row, column = divmod(number, across)
        large = one.convert("RGB").resize((width - _GAP, height - _GAP), Image.Resampling.NEAREST)
        sheet.paste(large, (_GAP + column * width, _GAP + row * height))
    return sheet


def _across(count: int) -> int:
    """Pictures in a row: tens, so that classes that take turns stand below each other, or as many as rows."""
    tens = 10 if count <= 100 else 20
    return tens if count % tens == 0 else max(1, round(count**0.5))
