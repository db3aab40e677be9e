"""Pixels to pictures of one size: the original with its crops, a view with what is given shaded, a plain view."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.tasks.curate.preview import View

TONES = ((0, 114, 178), (230, 135, 0), (0, 150, 110))  # Okabe and Ito's blue, orange, green, one for each view
PHOTOGRAPH = 160  # px: smaller images are enlarged so that their pixels can be seen
_CELL = 320  # px of the longer side of a picture, about
_SHADE, _GRID = 96, 44  # opacity, of 255


def cell_size(cfg: ModelConfig) -> tuple[int, int]:
    """(width, height) of every picture: the model's shape, small images enlarged by a whole factor."""
    height, width = cfg.img_size
    scale = _CELL / max(height, width)
    scale = max(1, round(scale)) if max(height, width) < PHOTOGRAPH else scale
    return round(width * scale), round(height * scale)


def plain(pixels: Tensor, size: tuple[int, int]) -> Image.Image:
    """An image at (width, height): 3 channels as color, of any other number the first in grey."""
    shown = pixels if pixels.shape[0] == 3 else pixels[:1].expand(3, -1, -1)
    shown = shown if shown.dtype == torch.uint8 else (shown.clamp(0, 1) * 255).round().byte()
    picture = Image.fromarray(np.ascontiguousarray(shown.permute(1, 2, 0).numpy()))
    small = max(picture.size) < PHOTOGRAPH
    return picture.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def fitted(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image that keeps its shape and fits into `size`."""
    scale = min(size[0] / width, size[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def with_crops(pixels: Tensor, views: tuple[View, ...], size: tuple[int, int]) -> Image.Image:
    """The original, in its own shape within `size`, with the frame of each view's crop."""
    height, width = pixels.shape[1:]
    picture = plain(pixels, fitted(height, width, size))
    draw, (across, down) = ImageDraw.Draw(picture), picture.size
    for tone, view in zip(TONES, views, strict=False):
        top, left, rows, columns = view.box
        first = round(left / width * across), round(top / height * down)
        last = round((left + columns) / width * across) - 1, round((top + rows) / height * down) - 1
        last = max(first[0] + 2, last[0]), max(first[1] + 2, last[1])  # a thin crop still has a frame
        draw.rectangle((*first, *last), outline=(255, 255, 255), width=5)
        draw.rectangle((first[0] + 1, first[1] + 1, last[0] - 1, last[1] - 1), outline=tone, width=3)
    return picture


def with_given(
    pixels: Tensor, given: Tensor, cfg: ModelConfig, tone: tuple[int, int, int], size: tuple[int, int]
) -> Image.Image:
    """A view with its patches, of which those that are given lie under a tone, with a line around them."""
    picture = plain(pixels, size)
    draw, (rows, columns) = ImageDraw.Draw(picture, "RGBA"), cfg.grid
    across = [round(size[0] * column / columns) for column in range(columns + 1)]
    down = [round(size[1] * row / rows) for row in range(rows + 1)]
    shaded = given.view(rows, columns)
    for row, column in shaded.nonzero().tolist():
        cell = (across[column], down[row], across[column + 1] - 1, down[row + 1] - 1)
        draw.rectangle(cell, fill=(*tone, _SHADE))
    for x in across[1:-1]:
        draw.line((x, 0, x, size[1]), fill=(255, 255, 255, _GRID))
    for y in down[1:-1]:
        draw.line((0, y, size[0], y), fill=(255, 255, 255, _GRID))
    for color, width in (((255, 255, 255), 5), (tone, 3)):
        for line in _borders(shaded, across, down):
            draw.line(line, fill=color, width=width)
    return picture


def _borders(shaded: Tensor, across: list[int], down: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """The sides that a shaded patch shares with one that is not, each a little longer, so that corners close."""
    for row, column in (shaded[:, 1:] != shaded[:, :-1]).nonzero().tolist():
        yield across[column + 1], down[row] - 1, across[column + 1], down[row + 1] + 1
    for row, column in (shaded[1:] != shaded[:-1]).nonzero().tolist():
        yield across[column] - 1, down[row + 1], across[column + 1] + 1, down[row + 1]
