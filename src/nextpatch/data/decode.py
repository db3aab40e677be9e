"""Bytes to pixels: one image, any common format, or a reason why not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextpatch.data.arrays import is_npy, npy_shape, npy_values
from nextpatch.data.jpeg import JpegHeader, check_filler, first_gap, has_end, jpeg_header, refilled
from nextpatch.data.metadata import pictures
from nextpatch.data.orientation import EXCHANGED
from nextpatch.data.pillow import (
    deep_png_values,
    is_deep_png,
    kind_of,
    opened,
    reads_tiff,
    sides,
    values_of,
)
from nextpatch.data.pixels import MAX_PIXELS as MAX_PIXELS
from nextpatch.data.pixels import WRONG_CHANNELS as WRONG_CHANNELS
from nextpatch.data.pixels import BadImage as BadImage
from nextpatch.data.pixels import check_size, only_bad_images, to_8_bits
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.tiff import is_tiff, pages_in, tiff_shape, tiff_values

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except (ImportError, RuntimeError):  # absent, without its decoders, or built for another torch: Pillow does it all
    decode_jpeg = None

_JPEG = b"\xff\xd8"
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what libjpeg decodes the same way everywhere
_MIRRORED = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}  # along which axes, after the exchange


class ImageHeader(NamedTuple):
    """What an image says about itself before it is decoded.

    `kind` is the type of its values, as NumPy names it; `pictures` counts the pages or frames that its file holds.
    """

    channels: int
    height: int
    width: int
    kind: str = "uint8"
    pictures: int = 1


def decode(
    data: bytes, channels: int, preprocessing: Preprocessing = AS_OURS
) -> UInt8[Tensor, "channels height width"]:
    """Decode to 8 bits and `channels` channels: 1 grey, 3 RGB, any other number from .npy or TIFF.

    The policy, with a test for each line in `tests/data/test_corpus.py`:

    - JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, .npy, and HEIC with the extra `heif`, by their first bytes, whatever
      the file is called; nothing else.
    - EXIF orientation is applied where it can be read. Text, profiles and damaged metadata are passed over.
    - Of an animation, or of several pages, the first is taken; with `pages` of "bands" a TIFF's pages are bands.
    - Transparency lies over white: color hidden under it never shows.
    - 16 bits, and floats in [0, 1], are scaled, not clipped; with `pixel_range` its values are, of numbers of any type
      of more than 8 bits, and what lies beyond is clipped. CMYK, YCCK and palettes become RGB, 1 bit black and white.
    - The axes of arrays are `layout`'s; what does not look like height x width x channels is refused without it.
    - Grey becomes RGB by repeating, RGB grey by the luma weights. Other numbers of channels must be the model's.
    - More than MAX_PIXELS are refused by the header, before anything is decoded.
    - What is cut short, or damaged so that the decoder notices, is refused; so is a JPEG with 64 zeros or more in place
      of pixels, if its Huffman tables tell them from pixels (not of progressive ones, and of most others).
      Other changed bytes that the decoder reads over show in a shard's checksums alone.

    Raises BadImage, and nothing else, whatever the bytes.
    """
    with only_bad_images():
        if data.startswith(_JPEG):
            check_filler(data)
            if (found := jpeg_header(data)) and (fast := _fast_jpeg(data, found, channels)) is not None:
                return fast
        pixels = _recolored(to_8_bits(_values(data, channels, preprocessing), preprocessing.pixel_range), channels)
        rows = torch.from_numpy(np.array(pixels, order="C"))
        return rows.permute(2, 0, 1)  # rows of whole pixels: resizing is faster on them


def header(data: bytes, preprocessing: Preprocessing = AS_OURS) -> ImageHeader:
    """Channels (alpha not counted), height and width (upright), without decoding. Raises BadImage and nothing else."""
    with only_bad_images():
        if is_npy(data):
            return ImageHeader(*npy_shape(data, preprocessing.layout))
        if is_tiff(data) and not _by_pillow(data, preprocessing):
            return ImageHeader(
                *tiff_shape(data, preprocessing), 1 if preprocessing.pages == "bands" else pages_in(data)
            )
        if data.startswith(_JPEG):
            check_filler(data)
        with opened(data) as image:
            height, width = sides(image)
            channels = 1 if image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF" else 3
            kind = "uint16" if is_deep_png(data) else kind_of(image)
        channels = 1 if is_deep_png(data) and data[25:26] == b"\4" else channels
        return ImageHeader(channels, height, width, kind, pages_in(data) if is_tiff(data) else pictures(data))


def deep_values(data: bytes, preprocessing: Preprocessing = AS_OURS) -> NDArray[Any]:
    """The values of an image as they are stored, height x width x channels: what a range is chosen by. BadImage."""
    with only_bad_images():
        return _values(data, header(data, preprocessing).channels, preprocessing)


def _values(data: bytes, channels: int, preprocessing: Preprocessing) -> NDArray[Any]:
    """Height x width x channels, by the decoder for these bytes."""
    if is_npy(data):
        return npy_values(data, preprocessing.layout)
    if is_tiff(data) and (channels not in (1, 3) or not _by_pillow(data, preprocessing)):
        return tiff_values(data, preprocessing, flat=channels in (1, 3))
    if is_deep_png(data):
        return deep_png_values(data, *preprocessing.pixel_range[1:])
    return values_of(data, channels == 1, *preprocessing.pixel_range[1:])


def _by_pillow(data: bytes, preprocessing: Preprocessing) -> bool:
    """Whether Pillow is to read a TIFF: not where it would lose bands, bits or pages, or does not know the axes."""
    plain = preprocessing.pages == "first" and preprocessing.layout != "channels_first"
    return plain and reads_tiff(data, deep=find_spec("tifffile") is None and not preprocessing.pixel_range)


def _fast_jpeg(data: bytes, found: JpegHeader, channels: int) -> UInt8[Tensor, "channels height width"] | None:
    """An ordinary JPEG by libjpeg-turbo: the pixels that Pillow gives, sooner. None for any other, and for damage.

    Of any JPEG the size and the ends of its data are checked, because Pillow would not say what is missing.
    """
    check_size(found.height, found.width)
    if not has_end(data, found):
        raise BadImage("has no end marker: the file is cut short, or its end was overwritten")
    if (at := first_gap(data, found)) is not None and not _same_picture(data, refilled(data, found, at)):
        raise BadImage(f"holds zeros from byte {at} on, where compressed pixels should be")
    if decode_jpeg is None or found.coding not in _HUFFMAN or found.precision != 8 or found.orientation is None:
        return None
    if found.components not in (1, 3) or channels not in (found.components, 3):
        return None
    mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
    try:
        pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode)
    except RuntimeError:
        return None  # Pillow says better what is wrong
    pixels = pixels.transpose(1, 2) if found.orientation in EXCHANGED else pixels
    return pixels.flip(_MIRRORED[found.orientation]) if found.orientation in _MIRRORED else pixels


def _same_picture(data: bytes, other: bytes | None) -> bool:
    """Whether there is another and both show the same to the last pixel. Raises BadImage when one cannot be decoded."""
    if other is None:
        return False
    with opened(data) as image, opened(other) as twin:
        return np.array_equal(np.asarray(image), np.asarray(twin))


def can_become(found: int, channels: int) -> bool:
    """Whether an image of so many channels can be given `channels`: only grey and color are made of each other."""
    return found == channels or {found, channels} == {1, 3}


def _recolored(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Grey to RGB and back; other channel counts have no meaning to convert by."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if not can_become(found, channels):
        raise BadImage(f"has {found} channels, the model takes {channels}", WRONG_CHANNELS)
    if channels == 3:
        return pixels.repeat(3, axis=2)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]
