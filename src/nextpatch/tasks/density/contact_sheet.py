"""Images in rows, each with a figure and its name, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nextpatch.core.text import shown

_CELL, _GAP, _MARGIN, _CAPTION, _ACROSS = 128, 12, 24, 40, 6
_GROUND, _INK, _MUTE = (251, 251, 249), (27, 29, 33), (98, 103, 111)
_TEXT, _SMALL = (ImageFont.load_default(size) for size in (15, 12))


class Cell(NamedTuple):
    """An image, the figure under it, and its name."""

    image: UInt8[Tensor, "channels height width"]
    figure: str
    name: str


def draw_cells(cells: Sequence[Cell]) -> Image.Image:
    """In the order given, six in a row."""
    rows = max(1, -(-len(cells) // _ACROSS))
    size = 2 * _MARGIN + _ACROSS * (_CELL + _GAP) - _GAP, 2 * _MARGIN + rows * (_CELL + _CAPTION + _GAP) - _GAP
    sheet = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(sheet)
    for number, cell in enumerate(cells):
        left = _MARGIN + number % _ACROSS * (_CELL + _GAP)
        top = _MARGIN + number // _ACROSS * (_CELL + _CAPTION + _GAP)
        sheet.paste(_picture(cell.image), (left, top))
        pen.text((left, top + _CELL + 2), cell.figure, _INK, _TEXT)
        pen.text((left, top + _CELL + 21), _cut(pen, shown(cell.name)), _MUTE, _SMALL)
    return sheet


def _picture(image: Tensor) -> Image.Image:
    """As large as a cell; of other than 3 channels the first, in grey."""
    pixels = image.permute(1, 2, 0) if len(image) == 3 else image[0]
    whole = Image.fromarray(pixels.contiguous().numpy()).convert("RGB")
    scale = _CELL / max(whole.size)
    side = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    return whole.resize(side, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _cut(pen: ImageDraw.ImageDraw, text: str) -> str:
    """The end of a path says more than its beginning."""
    while len(text) > 4 and pen.textlength(text, _SMALL) > _CELL:
        text = "..." + text[4:]
    return text
