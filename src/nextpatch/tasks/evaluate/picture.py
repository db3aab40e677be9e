"""The samples that come nearest to a training image, with these beside them; and real images for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.measure.distances import NearestVectors
from nextpatch.tasks.evaluate.look import VIEW, CommonView, ImageSet

_ROWS, _SIDE, _GAP, _MARGIN, _LINE = 8, 84, 10, 32, 24
_GROUND, _INK, _MUTE = (251, 251, 249), (27, 29, 33), (98, 103, 111)
_TITLE, _TEXT, _SMALL = (ImageFont.load_default(size) for size in (24, 17, 14))
Found = tuple[Source, ImageSet, NearestVectors]


def draw(sets: Sequence[Found], train: Source, places: Sequence[int], view: CommonView) -> Image.Image:
    """A block for each set, side by side: its images that are nearest to a training image, a row each, nearest first.

    `places`: the index of each training image in its collection, in the order in which they were compared.
    """
    across = (sets[0][2].numbers.shape[1] + 1) * (_SIDE + _GAP) + 60
    rows = max(min(_ROWS, len(one)) for _, one, _ in sets)
    top = _MARGIN + 3 * _LINE
    height = top + rows * (_SIDE + _GAP + _LINE) + _MARGIN
    sheet = Image.new("RGB", (2 * _MARGIN + len(sets) * across, height), _GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 8), "Nearest to a training image", _INK, _TITLE)
    for number, (source, images, near) in enumerate(sets):
        left = _MARGIN + number * across
        pen.text((left, _MARGIN + 28), f"{images.what}, and the nearest training images", _MUTE, _TEXT)
        _block(sheet, pen, (left, top), _rows(source, images, near, train, places, view))
    return sheet


def _rows(
    source: Source, images: ImageSet, near: NearestVectors, train: Source, places: Sequence[int], view: CommonView
) -> list[tuple[list[Image.Image], list[float]]]:
    """Of each row the pictures, an image and its neighbors, and the distances of these."""
    chosen = near.distances[:, 0].argsort(stable=True)[:_ROWS].tolist()
    found = []
    for row in chosen:
        known = [int(number) for number in near.numbers[row] if number >= 0]
        pictures = [_picture(source, images.places[row], view), *(_picture(train, places[n], view) for n in known)]
        found.append((pictures, near.distances[row, : len(known)].tolist()))
    return found


def _picture(source: Source, index: int, view: CommonView) -> Image.Image:
    [batch] = eval_batches(sparse(source), np.array([index]), view.size, view.channels, 1, preprocessing=VIEW)
    return _drawn(batch.images[0])


def _drawn(pixels: Tensor) -> Image.Image:
    """In whole enlargements where it is small; of many channels the first three."""
    shown = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    image = Image.fromarray(shown.permute(1, 2, 0).contiguous().numpy())
    scale = _SIDE / max(image.size)
    scale = int(scale) if scale >= 1 else scale
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC)


def _block(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    rows: Sequence[tuple[list[Image.Image], list[float]]],
) -> None:
    for number, (pictures, distances) in enumerate(rows):
        top = at[1] + number * (_SIDE + _GAP + _LINE)
        for column, picture in enumerate(pictures):
            left = at[0] + column * (_SIDE + _GAP) + (20 if column else 0)
            sheet.paste(picture, (left, top))
            if column:
                pen.text((left, top + _SIDE + 2), f"{distances[column - 1]:.3f}", _MUTE, _SMALL)
