"""TIFF with any number of bands, as satellites and microscopes give it; what Pillow cannot read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpatch.data.jpeg import jpeg_header
from nextpatch.data.pixels import BadImage, check_size, scaled_to_8_bits

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


def is_tiff(data: bytes) -> bool:
    """Whether it begins as a TIFF or BigTIFF does."""
    return data[:4] in _MAGIC


def tiff_shape(data: bytes) -> tuple[int, int, int]:
    """(bands, height, width) of the first page, from its tags. Raises BadImage."""
    with _first_page(data) as page:
        return int(page.samplesperpixel), int(page.imagelength), int(page.imagewidth)


def tiff_pixels(data: bytes) -> NDArray[np.uint8]:
    """Height x width x bands of the first page; 8 bits as they are, 16 bits and floats in [0, 1] scaled.

    The size is checked from the tags. Bands of unlike kinds, or of other types, are a BadImage.
    """
    with _first_page(data) as page:
        if page.dtype is None or page.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
            raise BadImage(f"needs bands of 8 or 16 bits, has {page.dtype or 'bands of several kinds'}", "unsupported")
        values = page.asarray()
        planar = page.samplesperpixel > 1 and page.planarconfig == 2
    values = values.reshape(values.shape if values.ndim == 3 else (*values.shape[:2], 1))
    values = np.moveaxis(values, 0, 2) if planar else values
    return np.asarray(values) if values.dtype == np.uint8 else scaled_to_8_bits(values)


def check_tile(height: int, width: int, tile_height: int, tile_width: int) -> None:
    """BadImage when a tile is much larger than the image that it is a part of: it is decoded as a whole."""
    if tile_height * tile_width > max(height * width, _TILE_PIXELS):
        raise BadImage(f"is {width}x{height}, but its tiles are {tile_width}x{tile_height}", "too large")


@contextmanager
def _first_page(data: bytes) -> Iterator[Any]:
    """The first page, its size checked; whatever goes wrong in the block becomes a BadImage."""
    try:
        import tifffile
    except ImportError:
        raise BadImage("TIFF of this kind needs more: pip install 'nextpatch[tiff]'", "unsupported") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports odd tags at length
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages.first
            check_size(int(page.imagelength), int(page.imagewidth) * -(-int(page.samplesperpixel) // 4))
            if int(page.imagedepth) != 1:
                raise BadImage(f"has {page.imagedepth} layers; give each as an image of its own", "unsupported")
            _check_parts(data, page)
            yield page
    except BadImage:
        raise
    except Exception as error:  # damaged tags raise anything
        raise BadImage(f"damaged TIFF: {error}" if error.args else f"damaged TIFF: {type(error).__name__}") from None


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
