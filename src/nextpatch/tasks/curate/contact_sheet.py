"""A preview as one picture, drawn by Pillow: a row for each image."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

from nextpatch.core.text import shown
from nextpatch.tasks.curate.captions import COLUMNS, about_image, about_view, notes, subtitle, title
from nextpatch.tasks.curate.draw import TONES, cell_size, plain, with_crops, with_given
from nextpatch.tasks.curate.preview import Row, Sheet

_MARGIN, _GAP, _CAPTION = 48, 18, 54
_GROUND, _INK, _MUTE = (251, 251, 249), (27, 29, 33), (98, 103, 111)
_TITLE, _TEXT, _SMALL = (ImageFont.load_default(size) for size in (34, 19, 16))
_LINE = 28


def pictures(row: Row, sheet: Sheet) -> Iterator[tuple[Image.Image, str]]:
    """The pictures of a row, one for each of COLUMNS, with the text under it."""
    size, cfg = cell_size(sheet.model), sheet.model
    yield with_crops(row.original, row.views, size), about_image(row)[1]
    for view, tone in zip(row.views, TONES, strict=True):
        yield with_given(view.image, view.given, cfg, tone, size), about_view(row, view)
    yield with_given(row.target, row.views[0].given, cfg, TONES[0], size), ""
    yield plain(row.evaluation, size), ""


def draw_sheet(sheet: Sheet) -> Image.Image:
    """The whole picture, on a light ground."""
    (across, down), lines = cell_size(sheet.model), notes(sheet)
    top = _MARGIN + 50 + _LINE * (1 + len(lines)) + 56
    width = 2 * _MARGIN + len(COLUMNS) * (across + _GAP) - _GAP
    picture = Image.new("RGB", (width, top + len(sheet.rows) * (down + _CAPTION + _GAP) + _MARGIN - _GAP), _GROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN - 8), _cut(draw, title(sheet), width - 2 * _MARGIN, _TITLE), _INK, _TITLE)
    for number, line in enumerate([subtitle(sheet), *lines]):
        draw.text((_MARGIN, _MARGIN + 46 + _LINE * number), line, _MUTE, _TEXT)
    for column, heading in enumerate(COLUMNS):
        tone = TONES[column - 1] if 1 <= column <= len(TONES) else _INK
        draw.text((_MARGIN + column * (across + _GAP), top - 32), heading, tone, _TEXT)
    for number, row in enumerate(sheet.rows):
        _draw_row(draw, picture, row, sheet, top + number * (down + _CAPTION + _GAP))
    return picture


def _draw_row(draw: ImageDraw.ImageDraw, picture: Image.Image, row: Row, sheet: Sheet, top: int) -> None:
    across, _ = cell_size(sheet.model)
    for column, (cell, text) in enumerate(pictures(row, sheet)):
        left = _MARGIN + column * (across + _GAP)
        picture.paste(cell, (left, top))
        name = [_cut(draw, about_image(row)[0], across, _SMALL)] if column == 0 else []
        for line, words in enumerate([*name, _cut(draw, text, across, _SMALL)]):
            draw.text((left, top + cell.height + 6 + 21 * line), words, _INK if name and line == 0 else _MUTE, _SMALL)


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or its end where it is too long: the end of a path says more."""
    text = shown(text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"...{text}", font) > width:
        text = text[1:]
    return f"...{text}"
