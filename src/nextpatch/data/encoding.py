"""Images as a person has them - paths, Pillow's, arrays, tensors - as the bytes of a file with the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.data.arrays import as_npy
from nextpatch.data.error import DataError
from nextpatch.data.storage.near import read_near
from nextpatch.data.tiff import upside_down

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("CMYK", "F", "I")
_PHOTOMETRIC = 262  # TIFF's tag: 0 says that white is 0
Given = Any  # a path, a Pillow image, an array "height width [channels]" or a tensor "channels height width"


def is_one(image: Given) -> bool:
    """Whether it is a single image, and no collection of them."""
    return isinstance(image, (str, Path, bytes, Image.Image)) or getattr(image, "ndim", 0) in (2, 3)


def is_many(images: Given) -> bool:
    """Whether it is a list of images, or an array or tensor of four axes."""
    return isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4


def name_of(image: Given) -> str:
    """What to call it in a message."""
    if isinstance(image, (str, Path)):
        return shown(image)
    return f"an image of type {type(image).__name__}"


def encoded(image: Given) -> bytes:
    """A file with these pixels; DataError for what is no image, OSError for a path that cannot be read."""
    if isinstance(image, (str, Path)):
        return read_near(Path(image))
    if isinstance(image, bytes):
        return image
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    if isinstance(image, (np.ndarray, Tensor)):
        return _of_array(_rows_first(image) if isinstance(image, Tensor) else image)
    raise DataError(
        f"{name_of(image)} is not an image; give a path, an image of Pillow, an array 'height width channels' or a "
        "tensor 'channels height width'"
    )


def _of_pillow(image: Image.Image) -> bytes:
    try:
        return _file_of(image)
    except ValueError as error:  # closed, of no pixels, or of a mode that nothing is made from
        raise DataError(f"an image of Pillow, {image.mode} {image.size}, cannot be read: {error}") from None


def _file_of(image: Image.Image) -> bytes:
    upright, out = ImageOps.exif_transpose(image), io.BytesIO()
    if upright.mode == "I" and image.format in ("PNG", "PPM"):
        upright = upright.convert("I;16")  # as some versions of Pillow open 16 bits
    if upright.mode.startswith("I;16") and isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
        values = np.asarray(upright)
        return _of_array(upside_down(values.astype(values.dtype.newbyteorder("="))))
    if upright.mode in _TIFF_MODES:
        upright.save(out, "TIFF")
    else:
        plain = upright if upright.mode in _PNG_MODES else upright.convert("RGB")
        plain.save(out, "PNG", compress_level=0)
    return out.getvalue()


def _rows_first(tensor: Tensor) -> np.ndarray:
    if tensor.ndim not in (2, 3):
        raise DataError(f"a tensor of shape {tuple(tensor.shape)} is not an image; give 'channels height width'")
    try:
        plain = tensor.detach().cpu()
        plain = plain.float() if plain.is_floating_point() and plain.dtype != torch.float64 else plain
        found: np.ndarray = (plain.permute(1, 2, 0) if plain.ndim == 3 else plain).contiguous().numpy()
    except (RuntimeError, TypeError) as error:  # sparse, quantized, without data
        raise DataError(f"a tensor of type {tensor.dtype} cannot be read: {str(error).splitlines()[0]}") from None
    return found


def _of_array(array: np.ndarray) -> bytes:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(f"an array of shape {array.shape} is not an image; give 'height width channels'")
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 2, 3, 4):
        raise DataError(
            f"an array of shape {array.shape} looks like channels x height x width; transpose it: "
            "array.transpose(1, 2, 0)"
        )
    if array.dtype.kind == "f":
        array = as_uint8(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"pixels of type {array.dtype} have no known range; give uint8, uint16 or floats in [0, 1]")
    return as_npy(array)


def as_uint8(array: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as 8 bits; DataError for others."""
    check_range(float(array.min()), float(array.max()))
    found: np.ndarray = np.rint(np.asarray(array, np.float64) * 255).astype(np.uint8)
    return found


def check_range(low: float, high: float) -> None:
    """DataError unless floats from `low` to `high` are pixels in [0, 1]."""
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"floats from {low:.4g} to {high:.4g} are not pixels: give floats in [0, 1] that are not normalized yet "
            "(the model normalizes them itself), or uint8"
        )
