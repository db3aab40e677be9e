"""Pictures by Pillow: opened without what metadata could spoil, upright, flat; values of more than 8 bits unscaled."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from nextpatch.data.formats import pillow_formats
from nextpatch.data.metadata import png_bytes, without_metadata
from nextpatch.data.orientation import EXCHANGED, ORIENTATION, TURNS, upright
from nextpatch.data.pixels import BadImage, check_size
from nextpatch.data.tiff import check_tile, is_tiff, to_picture, upside_down

_BITS, _PHOTOMETRIC, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 277, 322, 323  # TIFF tags
_FORMATS, _SIGNED = 339, 2
_PNG_WHITE = 65535.0
_TURNING_WORDS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


class _Tiff(TiffImageFile):
    """As it lies in the file: Pillow would read all metadata once more to turn it, and fail where that is damaged."""

    def load_end(self) -> None:
        """Nothing more to do."""


def _tiff(data: bytes) -> _Tiff:
    image = _Tiff(io.BytesIO(data))
    to_picture(image)
    return image


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image with only its header read, of a size that may be decoded."""
    if not data:
        raise BadImage("empty file", "empty")
    try:
        with _open(data) as image:
            check_size(image.height, image.width)
            if isinstance(image, TiffImageFile):
                tile = image.tag_v2.get(_TILE_LENGTH, 0), image.tag_v2.get(_TILE_WIDTH, 0)
                check_tile(image.height, image.width, *tile)
            yield image
    except Image.DecompressionBombError as error:
        raise BadImage(str(error), "too large") from None
    except UnidentifiedImageError:
        raise BadImage("not an image of a known format", "not an image") from None


def _open(data: bytes) -> Image.Image:
    """JPEG and TIFF by their own classes: `Image.open` would look for a second picture, and fail on damaged lists."""
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(io.BytesIO(data))
    if is_tiff(data):
        return _tiff(data)
    image = Image.open(io.BytesIO(without_metadata(data)), formats=pillow_formats())
    clear, depth = image.info.get("transparency"), data[24]
    if image.format == "PNG" and image.mode == "L" and depth in (2, 4) and isinstance(clear, int):
        image.info["transparency"] = (
            clear * 255 // (2**depth - 1)
        )  # Pillow spreads the shades over 8 bits, not this one
    if image.format == "PNG" and not any(word in data for word in _TURNING_WORDS):
        image.info["exif"] = b""  # or else Pillow decodes the whole image to look for it behind the pixels
    return image


def orientation(image: Image.Image) -> int:
    """EXIF's or XMP's, 1 to 8; where it cannot be read the image is taken to be upright."""
    try:
        told = image.tag_v2.get(ORIENTATION) if isinstance(image, TiffImageFile) else None
        found = image.getexif().get(ORIENTATION, 1) if told is None else told
        return int(found) if found in TURNS else 1
    except Exception:
        return 1


def sides(image: Image.Image) -> tuple[int, int]:
    """Height and width, upright."""
    turned = isinstance(image, TiffImageFile)  # Pillow gives the upright size of these, and of no other
    exchanged = not turned and orientation(image) in EXCHANGED
    return (image.width, image.height) if exchanged else (image.height, image.width)


def kind_of(image: Image.Image) -> str:
    """The type of its values, by its mode."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")) or _is_deep_ppm(image):
        return "uint16"
    if image.mode == "I" and isinstance(image, TiffImageFile) and _SIGNED not in image.tag_v2.get(_FORMATS, ()):
        return "uint32"
    return {"I": "int32", "F": "float32"}.get(image.mode, "uint8")


def values_of(data: bytes, grey: bool, white: float = _PNG_WHITE) -> NDArray[Any]:
    """Height x width x channels: 8 bits in grey or RGB with alpha over white, or more than 8 as they are stored.

    Of a PNG of 16 bits the shade that stands for nothing becomes `white`.
    """
    with opened(data) as image:
        turn, height = TURNS.get(orientation(image)), image.height
        if deep := _is_deep_ppm(image):
            _beside_each_other(image)
        image.load()
        _check_rows(data, image)
        if turn is not None:
            image.im = image.im.transpose(turn)
            image._size = image.im.size
        if image.mode[0] not in "IF":
            pixels = np.asarray(_flat(image, "L" if grey else "RGB"))
            return pixels[:, :, None] if pixels.ndim == 2 else pixels
        values = np.asarray(image)[:, :, None]
        values = values.astype(values.dtype.newbyteorder("="))
        values = values.clip(0, 65535).astype(np.uint16) if kind_of(image) == "uint16" else values
        values = values.view(np.uint32) if kind_of(image) == "uint32" else values  # Pillow: signed
        if image.format == "PNG":
            values = _on_paper(values, image.info.get("transparency"), white)
        values = values.reshape(height, -1, 3) if deep else values
        inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
        return upside_down(values) if inverted else values


def _check_rows(data: bytes, image: Image.Image) -> None:
    """BadImage when a loaded PNG holds fewer rows than it says: Pillow leaves them zero where its stream ends well.

    Looked for only where the last row is zero: that costs to inflate it once more.
    """
    if image.format != "PNG" or np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any():
        return
    found, asked = png_bytes(data)
    if found < asked:
        raise BadImage(f"cut short: its pixels are {found:,} of {asked:,} bytes")


def _is_deep_ppm(image: Image.Image) -> bool:
    """Whether it is a PPM in color of more than 8 bits, of which Pillow would give 8; told before it is loaded."""
    if image.format != "PPM" or image.mode != "RGB" or not (tiles := image.tile):  # type: ignore[attr-defined]
        return False
    args = tiles[0].args
    return isinstance(args, tuple) and args[-1] > 255


def _beside_each_other(image: Image.Image) -> None:
    """Red, green and blue as shades of a picture of thrice the width: of shades Pillow gives all bits."""
    image._mode, image._size = "I", (3 * image.width, image.height)
    image.tile = [t._replace(extents=(0, 0, *image.size)) for t in image.tile]  # type: ignore[attr-defined]


def _on_paper(values: NDArray[Any], clear: object, white: float) -> NDArray[Any]:
    """Values of 16 bits with the color that a PNG declares to be transparent, a number or three, made white."""
    if not isinstance(clear, (int, tuple)):
        return values
    bare_of_color = (values == np.array(clear)).all(axis=2, keepdims=True)
    return np.where(bare_of_color, np.uint16(min(max(white, 0), _PNG_WHITE)), values)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits in `mode`, alpha composited over white."""
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image  # Pillow makes no other of multiplied shades
        color = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", color.size, "white"), color)
    return image.convert(mode) if image.mode in ("L", "RGB") else image.convert("RGB").convert(mode)


def reads_tiff(data: bytes, deep: bool) -> bool:
    """Whether Pillow knows this kind of TIFF, with all its bands: of four that are not RGBA it would give three.

    Of color of 16 bits it gives 8; that is enough with `deep`. Signs of 8 bits it would pass over.
    """
    try:
        with _tiff(data) as image:
            most = max(image.tag_v2.get(_BITS, (1,)))
            if most == 8 and _SIGNED in image.tag_v2.get(_FORMATS, ()):
                return False
            lost = len(image.getbands()) > 1 and most > 8
            return bool(image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) <= len(image.getbands())) and (deep or not lost)
    except Exception:
        return False


def is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG of 16 bits in color, or with alpha, of which Pillow would give 8."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data[24:25] == b"\x10" and data[25:26] in (b"\2", b"\4", b"\6")


def deep_png_values(data: bytes, white: float = _PNG_WHITE) -> NDArray[Any]:
    """Height x width x channels of 16 bits, alpha over `white`.

    Pillow unpacks one byte of each value: it is asked for the upper and for the lower one. (torchvision's decoder
    reads both, and past its memory where a file is cut short.)
    """
    with opened(data) as image:
        turn, clear = orientation(image), image.info.get("transparency")
    if data[25:26] == b"\4":
        values: NDArray[Any] = _unpacked(data, "RGBA", "RGBA").view(">u2").astype(np.uint16)  # four bytes a pixel
    else:
        mode = "RGB" if data[25:26] == b"\2" else "RGBA"
        upper, lower = (_unpacked(data, mode, f"{mode};16{order}") for order in "BL")
        values = upper.astype(np.uint16) * np.uint16(256) + lower
    if values.shape[2] in (2, 4):
        share = values[:, :, -1:].astype(np.float32) / np.float32(_PNG_WHITE)
        paper = np.float32(min(max(white, 0), _PNG_WHITE))
        values = (values[:, :, :-1] * share + paper * (1 - share)).round().astype(np.uint16)
    return upright(_on_paper(values, clear, white), turn)


def _unpacked(data: bytes, mode: str, rawmode: str) -> NDArray[np.uint8]:
    """Height x width x 3 or 4 bytes of the pixels, as a raw mode of Pillow takes them."""
    with opened(data) as image:
        image._mode = mode
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]  # type: ignore[attr-defined]
        image.load()
        _check_rows(data, image)
        return np.array(image)
