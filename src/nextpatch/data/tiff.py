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
from nextpatch.data.formats import RAW_REMEDY
from nextpatch.data.jpeg import jpeg_header
from nextpatch.data.orientation import EXCHANGED, ORIENTATION, upright
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
_COLORS = {1: 1, 2: 3}  # bands of grey and of RGB, without alpha
_MULTIPLIED, _UNMULTIPLIED = 1, 2  # kinds of alpha
_KIND, _OLD_KIND, _PARTS, _DNG = 254, 255, 330, 50706  # tags: small copy? pictures that are no pages; raw photo
_OLD_REDUCED = 2
_MOST_COPIES = 64  # pages of a file that are looked at for one that is no small copy
_PHOTOMETRIC = (0, 1, 2, 4, 5, 32803, 34892)  # shades, RGB, masks, inks, raw sensors: values as they are


def is_tiff(data: bytes) -> bool:
    """Whether it begins as a TIFF or BigTIFF does."""
    return data[:4] in _MAGIC


def tiff_shape(data: bytes, preprocessing: Preprocessing = AS_OURS) -> tuple[int, int, int, str]:
    """(bands, height, width, type of the values), from the tags. Raises BadImage."""
    with _pages(data, preprocessing.pages) as pages:
        height, width, bands = _sides(pages, preprocessing.layout)
        height, width = (width, height) if _orientation(pages[0]) in EXCHANGED else (height, width)
        return bands - bool(_alpha(pages[0], preprocessing)), height, width, str(pages[0].dtype or "")


def tiff_values(data: bytes, preprocessing: Preprocessing = AS_OURS, flat: bool = True) -> NDArray[Any]:
    """Height x width x bands, upright, of the type that they are stored in, and light where it is bright.

    Declared alpha of grey and RGB lies over white, unless not `flat`. The size is checked from the tags. Bands of
    unlike kinds are a BadImage.
    """
    with _pages(data, preprocessing.pages) as pages:
        _sides(pages, preprocessing.layout)
        if pages[0].dtype is None or pages[0].dtype.kind not in "buif":
            raise BadImage(f"needs bands of numbers, has {pages[0].dtype or 'bands of several kinds'}", "unsupported")
        values = np.concatenate([_values(page) for page in pages], axis=2)
        if flat and (alpha := _alpha(pages[0], preprocessing)):
            values = _on_white(values, alpha, int(pages[0].bitspersample), preprocessing.pixel_range[1:])
        turn = _orientation(pages[0])
    return upright(np.moveaxis(values, 0, 2) if preprocessing.layout == "channels_first" else values, turn)


def _alpha(page: Any, preprocessing: Preprocessing) -> int:
    """How the last band of grey or RGB is declared to be alpha, by which they are multiplied or not; 0 when it is not.

    Where the axes or the pages are said to be bands, alpha is one of them.
    """
    plain = preprocessing.pages == "first" and preprocessing.layout != "channels_first"
    if not plain or page.dtype is None or page.dtype.kind not in "uf":
        return 0
    extra = page.extrasamples
    usual = len(extra) == 1 and _COLORS.get(page.photometric) == page.samplesperpixel - 1
    return int(extra[0]) if usual and extra[0] in (_MULTIPLIED, _UNMULTIPLIED) else 0


def _on_white(values: NDArray[Any], alpha: int, bits: int, white: Sequence[float]) -> NDArray[Any]:
    """All bands but the last, which is alpha, over `white`, or the brightest of so many bits."""
    floats = values.dtype.kind == "f"
    most = 1.0 if floats else 2.0**bits - 1
    paper = white[0] if white else most
    paper = paper if floats else min(max(paper, 0.0), most)  # no more than the bits can hold
    wide = np.result_type(values.dtype, np.float32)
    share = (values[:, :, -1:].astype(wide) / wide.type(most)).clip(0, 1)
    colors = np.where(share > 0, values[:, :, :-1], 0).astype(wide)  # hidden ones may be no numbers
    mixed = (colors if alpha == _MULTIPLIED else colors * share) + wide.type(paper) * (1 - share)
    return np.asarray((mixed if floats else mixed.round().clip(0, most)).astype(values.dtype))


def _orientation(page: Any) -> int:
    """How the page lies in the file; 1, upright, where that is not told, or in no known way."""
    told = page.tags.valueof(ORIENTATION)
    return int(told) if isinstance(told, int) else 1


def pages_in(data: bytes) -> int:
    """How many pages a TIFF has, small copies of others not counted; 1 where that cannot be told."""
    try:
        with TiffImageFile(io.BytesIO(data)) as image:
            pages = int(image.n_frames)
            return max(1, pages - sum(_is_reduced(image, page) for page in range(min(pages, _MOST_COPIES))))
    except Exception:
        return 1


def to_picture(image: TiffImageFile) -> None:
    """Turn to the first page that is no small copy of another; to the first where all are.

    BadImage where the picture itself is no page, as in raw photos.
    """
    if not _is_reduced(image, 0):
        return
    if _PARTS in image.tag_v2 or _DNG in image.tag_v2:
        raise BadImage(f"holds only a small copy of its picture, as raw photos do; {RAW_REMEDY}", "unsupported")
    pages = min(image.n_frames, _MOST_COPIES)
    if all(_is_reduced(image, page) for page in range(pages)):
        image.seek(0)


def _is_reduced(image: TiffImageFile, page: int) -> bool:
    """Whether a page is a small copy of another; the image is at that page afterwards."""
    if page != image.tell():
        image.seek(page)
    kind = image.tag_v2.get(_KIND, 0)
    return bool(isinstance(kind, int) and kind & 1) or image.tag_v2.get(_OLD_KIND) == _OLD_REDUCED


def _values(page: Any) -> NDArray[Any]:
    """Height x width x bands of one page."""
    values = page.asarray()
    values = values.reshape(values.shape if values.ndim == 3 else (*values.shape[:2], 1))
    values = np.moveaxis(values, 0, 2) if page.samplesperpixel > 1 and page.planarconfig == 2 else values
    if page.photometric == _MINISWHITE:
        return upside_down(values, int(page.bitspersample))
    return np.asarray(values)


def upside_down(values: NDArray[Any], bits: int = 64) -> NDArray[Any]:
    """Dark for bright, of values without a sign, and of no more than so many bits; others are no shades, and stay."""
    if values.dtype.kind != "u":
        return values
    return (np.iinfo(values.dtype).max >> max(0, 8 * values.itemsize - bits)) - values


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
            first: Any = _full(file.pages)
            pages = [first] if which == "first" else _alike(file.pages, first)
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


def _full(pages: Any) -> Any:
    """The first page that is no smaller copy of another; the first where all are."""
    if not pages.first.is_reduced:
        return pages.first
    if pages.first.tags.get(_PARTS) or pages.first.tags.get(_DNG):
        raise BadImage(f"holds only a small copy of its picture, as raw photos do; {RAW_REMEDY}", "unsupported")
    others = (pages[number] for number in range(min(len(pages), _MOST_COPIES)))
    return next((page for page in others if not page.is_reduced), pages.first)


def _alike(pages: Any, first: Any) -> list[Any]:
    """The pages that have the size and the type of the `first` one that counts: the others are smaller copies."""
    if len(pages) > _MOST_PAGES:
        raise BadImage(f"has {len(pages):,} pages; at most {_MOST_PAGES:,} can be bands", "too large")
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
