"""Bytes to pixels: one image, any common format, or a reason why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from nextpatch.data.formats import pillow_formats
from nextpatch.data.jpeg import JpegHeader, has_end, hole, jpeg_header, refilled
from nextpatch.data.pixels import MAX_PIXELS as MAX_PIXELS
from nextpatch.data.pixels import BadImage as BadImage
from nextpatch.data.pixels import check_size, scaled_to_8_bits
from nextpatch.data.tiff import check_tile, is_tiff, tiff_pixels, tiff_shape

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except (ImportError, RuntimeError):  # absent, without its decoders, or built for another torch: Pillow does it all
    decode_jpeg = None

_NPY = b"\x93NUMPY"
_JPEG = b"\xff\xd8"
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what libjpeg decodes the same way everywhere
_SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH = 277, 322, 323  # TIFF tags
_ORIENTATION = 0x0112  # the EXIF tag
_EXCHANGED = (5, 6, 7, 8)  # the orientations that turn height into width
_MIRRORED = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}  # along which axes, after the exchange


class Header(NamedTuple):
    """What an image says about itself before it is decoded."""

    channels: int
    height: int
    width: int


def decode(data: bytes, channels: int) -> UInt8[Tensor, "channels height width"]:
    """Decode to 8 bits and `channels` channels: 1 grey, 3 RGB, any other number from .npy or TIFF.

    The policy, with a test for each line in `tests/data/test_corpus.py`:

    - JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, .npy, and HEIC with the extra `heif`, by their first bytes, whatever
      the file is called; nothing else.
    - EXIF orientation is applied. Of an animation, or of several pages, the first is taken.
    - Transparency lies over white: color hidden under it never shows.
    - 16 bits and floats in [0, 1] are scaled, not clipped. CMYK, YCCK and palettes become RGB, 1 bit black and white.
    - Grey becomes RGB by repeating, RGB grey by the luma weights. Other numbers of channels must be the model's.
    - More than MAX_PIXELS are refused by the header, before anything is decoded.
    - What is cut short, or damaged so that the decoder notices, is refused; so is a JPEG with 64 zeros or more in place
      of pixels, if its Huffman tables tell them from pixels (not of progressive ones, and of most others).
      Other changed bytes that the decoder reads over show in a shard's checksums alone.

    Raises BadImage.
    """
    if (
        data.startswith(_JPEG)
        and (found := jpeg_header(data))
        and (fast := _fast_jpeg(data, found, channels)) is not None
    ):
        return fast
    if data.startswith(_NPY):
        pixels = _from_npy(data)
    elif is_tiff(data) and (channels not in (1, 3) or not _pillow_reads(data)):
        pixels = tiff_pixels(data)
    else:
        with _opened(data) as image:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(_flat(image, "L" if channels == 1 else "RGB"))
    pixels = _recolored(pixels if pixels.ndim == 3 else pixels[:, :, None], channels)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)  # rows of whole pixels: resizing is faster on them


def header(data: bytes) -> Header:
    """Channels (alpha not counted), height and width (upright), without decoding. Raises BadImage."""
    if data.startswith(_NPY):
        height, width, channels = _from_npy(data).shape
        return Header(channels, height, width)
    if is_tiff(data) and not _pillow_reads(data):
        return Header(*tiff_shape(data))
    with _opened(data) as image:
        height, width = image.height, image.width
        turned = isinstance(image, TiffImageFile)  # Pillow gives the upright size of these, and of no other
        if not turned and image.getexif().get(_ORIENTATION, 1) in _EXCHANGED:
            height, width = width, height
        return Header(1 if image.mode in ("1", "L", "LA") or image.mode[0] in "IF" else 3, height, width)


def _fast_jpeg(data: bytes, found: JpegHeader, channels: int) -> UInt8[Tensor, "channels height width"] | None:
    """An ordinary JPEG by libjpeg-turbo: the pixels that Pillow gives, sooner. None for any other, and for damage.

    Of any JPEG the size and the ends of its data are checked, because Pillow would not say what is missing.
    """
    check_size(found.height, found.width)
    if not has_end(data, found):
        raise BadImage("has no end marker: cut short, or its rest was overwritten")
    if (at := hole(data, found)) is not None and not _same_picture(data, refilled(data, found, at)):
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
    pixels = pixels.transpose(1, 2) if found.orientation in _EXCHANGED else pixels
    return pixels.flip(_MIRRORED[found.orientation]) if found.orientation in _MIRRORED else pixels


def _same_picture(data: bytes, other: bytes | None) -> bool:
    """Whether there is another and both show the same to the last pixel. Raises BadImage when one cannot be decoded."""
    if other is None:
        return False
    with _opened(data) as image, _opened(other) as twin:
        return np.array_equal(np.asarray(image), np.asarray(twin))


def _pillow_reads(data: bytes) -> bool:
    """Whether Pillow knows this kind of TIFF, and all its bands: of four that are not RGBA it would give three."""
    try:
        with TiffImageFile(io.BytesIO(data)) as image:
            return bool(image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) <= len(image.getbands()))
    except Exception:
        return False


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image with only its header read; whatever goes wrong in the block becomes a BadImage."""
    if not data:
        raise BadImage("empty file", "empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata warns, and the cap below is stricter than Pillow's bomb warning
        try:
            with Image.open(io.BytesIO(data), formats=pillow_formats()) as image:
                check_size(image.height, image.width)
                if isinstance(image, TiffImageFile):
                    tile = image.tag_v2.get(_TILE_LENGTH, 0), image.tag_v2.get(_TILE_WIDTH, 0)
                    check_tile(image.height, image.width, *tile)
                yield image
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            raise BadImage(str(error), "too large") from None
        except UnidentifiedImageError:
            raise BadImage("not an image of a known format", "not an image") from None
        except Exception as error:  # on damaged bytes Pillow raises anything: struct.error, KeyError, TypeError, ...
            raise BadImage(str(error) if error.args else type(error).__name__) from None


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits in `mode`, alpha composited over white."""
    if image.mode[0] in "IF":
        image = Image.fromarray(scaled_to_8_bits(np.asarray(image)))
    elif image.has_transparency_data:
        color = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", color.size, "white"), color)
    return image.convert(mode) if image.mode in ("L", "RGB") else image.convert("RGB").convert(mode)


def _recolored(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Grey to RGB and back; other channel counts have no meaning to convert by."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if {found, channels} != {1, 3}:
        raise BadImage(f"has {found} channels, the model takes {channels}", "wrong channels")
    if channels == 3:
        return pixels.repeat(3, axis=2)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]


def _from_npy(data: bytes) -> NDArray[np.uint8]:
    """Height x width (x channels), 8 or 16 bits; the header is checked against the bytes before memory is taken."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise BadImage(f"damaged .npy header: {error}") from None
    if dtype not in (np.uint8, np.uint16) or len(shape) not in (2, 3) or 0 in shape:
        raise BadImage(f"needs height x width x channels of uint8 or uint16, has {shape} of {dtype}", "unsupported")
    check_size(*shape[:2])
    if len(data) - stream.tell() != np.prod(shape, dtype=object) * dtype.itemsize:
        raise BadImage(f"is not as long as its header says ({shape} of {dtype})")
    array = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    array = array if array.ndim == 3 else array[:, :, None]
    return array if dtype == np.uint8 else scaled_to_8_bits(array)
