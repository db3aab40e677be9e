"""TIFF with any number of bands, as satellites and microscopes give it; what Pillow cannot read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpatch.data.pixels import BadImage, check_size, scaled_to_8_bits

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
            yield page
    except BadImage:
        raise
    except Exception as error:  # damaged tags raise anything
        raise BadImage(f"damaged TIFF: {error}" if error.args else f"damaged TIFF: {type(error).__name__}") from None
