"""TIFF with any number of bands, as satellites and microscopes give it; what Pillow cannot read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from nextpatch.data.arrays import arranged
from nextpatch.data.jpeg import jpeg_header
from nextpatch.data.pixels import BadImage, check_size
from nextpatch.data.preprocessing import AS_OURS, Layout, Pages, Preprocessing

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = 7
_COMPRESSIONS = {  # whose decoders write no more than the room they are given; of JPEG the size is looked up
    1: "none",
    5: "LZW",
    _JPEG: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    50000: "Zstandard",
}
_TILE_PIXELS = 2048 * 2048
_MOST_PAGES = 4096
_MINISWHITE = 0
_PHOTOMETRIC = (0, 1, 2, 4, 5, 32803, 34892)  # shades, RGB, masks, inks, raw sensors: values as they are


def is_tiff(data: bytes) -> bool:
    """Whether it begins as a TIFF or BigTIFF does."""
    return data[:4] in _MAGIC


def tiff_shape(data: bytes, preprocessing: Preprocessing = AS_OURS) -> tuple[int, int, int, str]:
    """(bands, height, width, type of the values), from the tags. Raises BadImage."""
    with _pages(data, preprocessing.pages) as pages:
        height, width, bands = _sides(pages, preprocessing.layout)
        return bands, height, width, str(pages[0].dtype or "")


def tiff_values(data: bytes, preprocessing: Preprocessing = AS_OURS) -> NDArray[Any]:
    """Height x width x bands, of the type that they are stored in, and light where it is bright.

    The size is checked from the tags. Bands of unlike kinds are a BadImage.
    """
    with _pages(data, preprocessing.pages) as pages:
        _sides(pages, preprocessing.layout)
        if pages[0].dtype is None or pages[0].dtype.kind not in "buif":
            raise BadImage(f"needs bands of numbers, has {pages[0].dtype or 'bands of several kinds'}", "unsupported")
        values = np.concatenate([_values(page) for page in pages], axis=2)
    return np.moveaxis(values, 0, 2) if preprocessing.layout == "channels_first" else values


def pages_in(data: bytes) -> int:
    """How many pages a TIFF has; 1 where that cannot be told."""
    try:
        with TiffImageFile(io.BytesIO(data)) as image:
            return int(image.n_frames)
    except Exception:
        return 1


def _values(page: Any) -> NDArray[Any]:
    """Height x width x bands of one page."""
    values = page.asarray()
    values = values.reshape(values.shape if values.ndim == 3 else (*values.shape[:2], 1))
    values = np.moveaxis(values, 0, 2) if page.samplesperpixel > 1 and page.planarconfig == 2 else values
    if page.photometric == _MINISWHITE:
        return upside_down(values)
    return np.asarray(values)


def upside_down(values: NDArray[Any]) -> NDArray[Any]:
    """Dark for bright, of values without a sign; others are no shades of grey, and stay."""
    return np.iinfo(values.dtype).max - values if values.dtype.kind == "u" else values


def _sides(pages: Sequence[Any], layout: Layout) -> tuple[int, int, int]:
    """(height, width, bands) together. The tags say which axis is which, but were often written from a wrong guess."""
    page = pages[0]
    height, width, bands = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if len(pages) > 1 or page.planarconfig == 2:
        return height, width, bands * len(pages)
    return arranged((height, width, bands) if bands > 1 else (height, width), layout)


def check_tile(height: int, width: int, tile_height: int, tile_width: int) -> None:
    """BadImage when a tile is much larger than the image that it is a part of: it is decoded as a whole."""
    if tile_height * tile_width > max(height * width, _TILE_PIXELS):
        raise BadImage(f"is {width}x{height}, but its tiles are {tile_width}x{tile_height}", "too large")


@contextmanager
def _pages(data: bytes, which: Pages) -> Iterator[list[Any]]:
    """The first page, or all like it, sizes checked; whatever goes wrong in the block becomes a BadImage."""
    try:
        import tifffile
    except ImportError:
        raise BadImage("TIFF of this kind needs more: pip install 'nextpatch[tiff]'", "unsupported") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports odd tags at length
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            pages = [file.pages.first] if which == "first" else _alike(file.pages)
            first: Any = pages[0]
            bands = len(pages) * int(first.samplesperpixel)
            check_size(int(first.imagelength), int(first.imagewidth) * -(-bands // 4))
            for page in pages:
                if int(page.imagedepth) != 1:
                    raise BadImage(f"has {page.imagedepth} layers; give each as an image of its own", "unsupported")
                if page.photometric not in _PHOTOMETRIC:
                    raise BadImage(f"TIFF of colors that are not known here: {page.photometric!s}", "unsupported")
                _check_parts(data, page)
            yield pages
    except BadImage:
        raise
    except Exception as error:  # damaged tags raise anything
        raise BadImage(f"damaged TIFF: {error}" if error.args else f"damaged TIFF: {type(error).__name__}") from None


def _alike(pages: Any) -> list[Any]:
    """The pages that have the size and the type of the first: the others are smaller copies."""
    if len(pages) > _MOST_PAGES:
        raise BadImage(f"has {len(pages):,} pages; at most {_MOST_PAGES:,} can be bands", "too large")
    first = pages.first
    kind = (first.imagelength, first.imagewidth, first.samplesperpixel, first.dtype)
    found = (pages[number] for number in range(len(pages)))
    return [p for p in found if (p.imagelength, p.imagewidth, p.samplesperpixel, p.dtype) == kind]


def _check_parts(data: bytes, page: Any) -> None:
    """BadImage when a tile or strip could take more memory than its part of the image."""
    if page.compression not in _COMPRESSIONS:
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise BadImage(f"TIFF compressed by method {int(page.compression)}; known are {known}", "unsupported")
    height, width = int(page.imagelength), int(page.imagewidth)
    if page.is_tiled:
        height, width = int(page.tilelength), int(page.tilewidth)
        check_tile(int(page.imagelength), int(page.imagewidth), height, width)
    if page.compression == _JPEG:
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            part = jpeg_header(data[start : start + size]) if size else None
            if size and (part is None or part.height * part.width > height * width):
                raise BadImage(f"damaged TIFF: the JPEG at byte {start} is not a part of this image")
