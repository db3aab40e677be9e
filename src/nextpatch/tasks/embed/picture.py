"""The nearest images of a query as a picture, whose originals are found by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from nextpatch.core.text import escape_for_utf8, shown
from nextpatch.data.decode import BadImage, decode
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.storage.near import read_near

_CELL, _GAP, _MARGIN, _CAPTION, _ACROSS = 224, 16, 32, 46, 4
_GROUND, _INK, _MUTE, _QUERY = (251, 251, 249), (27, 29, 33), (98, 103, 111), (20, 102, 176)
_TEXT, _SMALL = (ImageFont.load_default(size) for size in (17, 14))
Original = Callable[[str], bytes]  # an encoded image by its name; OSError or KeyError when it is not to be had any more


class Neighbor(NamedTuple):
    """An image of the index and the cosine between its features and the query's."""

    path: str
    similarity: float


class Originals:
    """Images of an index by name: files where they lie, others out of the collection that was embedded."""

    def __init__(self, data: str) -> None:
        self._data = data

    def __getitem__(self, name: str) -> bytes:
        """The encoded image; OSError when it is not to be had any more."""
        path = Path(name)
        if path.is_file():
            return read_near(path)
        number = self._number(name)
        if number < 0:
            raise KeyError(name)
        return self._source.read(number)

    def _number(self, name: str) -> int:
        """Of an image by its name, which was written in another folder perhaps: then by its end."""
        if name in self._places:
            return self._places[name]
        end = "/" + re.sub(r"^(\.{0,2}/)*", "", name)
        return next((number for key, number in self._places.items() if key.endswith(end)), -1)

    @cached_property
    def _source(self) -> Source:
        try:
            return sparse(open_source(self._data))
        except DataError as error:
            raise OSError(str(error)) from None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {escape_for_utf8(self._source.key(i)): i for i in range(len(self._source))}


def draw(query: str, found: Sequence[Neighbor], original: Original) -> Image.Image:
    """The query and what is nearest, in rows, each with its similarity and name."""
    cells = [("query", query, _QUERY), *((f"{near.similarity:.3f}", near.path, _INK) for near in found)]
    rows = -(-len(cells) // _ACROSS)
    width = 2 * _MARGIN + _ACROSS * (_CELL + _GAP) - _GAP
    sheet = Image.new("RGB", (width, 2 * _MARGIN + rows * (_CELL + _CAPTION + _GAP) - _GAP), _GROUND)
    pen = ImageDraw.Draw(sheet)
    for number, (text, path, ink) in enumerate(cells):
        left = _MARGIN + number % _ACROSS * (_CELL + _GAP)
        top = _MARGIN + number // _ACROSS * (_CELL + _CAPTION + _GAP)
        picture = _opened(path, original)
        if picture is None:
            pen.rectangle((left, top, left + _CELL, top + _CELL), outline=_MUTE)
            pen.text((left + 10, top + 10), "not here any more", _MUTE, _SMALL)
        else:
            sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        if number == 0:
            pen.rectangle((left - 5, top - 5, left + _CELL + 4, top + _CELL + 4), outline=_QUERY, width=3)
        pen.text((left, top + _CELL + 4), text, ink, _TEXT)
        pen.text((left, top + _CELL + 25), _cut(pen, shown(path)), _MUTE, _SMALL)
    return sheet


def _opened(path: str, original: Original) -> Image.Image | None:
    try:
        pixels = decode(original(path), 3)
    except (OSError, KeyError, BadImage):
        return None
    shown = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    scale = _CELL / max(shown.size)
    return shown.resize(
        (max(1, round(shown.width * scale)), max(1, round(shown.height * scale))), Image.Resampling.BICUBIC
    )


def _cut(pen: ImageDraw.ImageDraw, text: str) -> str:
    """The end of a path says more than its beginning."""
    while len(text) > 4 and pen.textlength(text, _SMALL) > _CELL:
        text = "..." + text[4:]
    return text
