"""NumPy's .npy files as images: their header checked before memory is taken, their axes never guessed in silence."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextpatch.data.pixels import BadImage, check_size
from nextpatch.data.preprocessing import Layout

_MAGIC = b"\x93NUMPY"
_AXES_KNOWN = b"height width channels\n"  # stands before an array of this program, whose axes nobody has to say
_KINDS = "buif"
_COLORS = 4  # a last axis of so many, or fewer, is channels


class ArrayHeader(NamedTuple):
    """Shape as stored, type, whether columns come first in memory, and where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int


def is_npy(data: bytes) -> bool:
    """Whether it begins as a .npy file does."""
    return data.startswith((_MAGIC, _AXES_KNOWN))


def as_npy(array: NDArray[Any]) -> bytes:
    """An array "height width [channels]" as a .npy file that is read as just that, whatever layout files have."""
    out = io.BytesIO(_AXES_KNOWN)
    out.seek(0, io.SEEK_END)
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _with_axes(data: bytes, layout: Layout) -> tuple[bytes, Layout]:
    """The file itself, and how its axes are meant."""
    return (data.removeprefix(_AXES_KNOWN), "channels_last") if data.startswith(_AXES_KNOWN) else (data, layout)


def npy_shape(data: bytes, layout: Layout) -> tuple[int, int, int, str]:
    """(channels, height, width, type of the values), by the header alone. Raises BadImage."""
    data, layout = _with_axes(data, layout)
    found = _header(data)
    height, width, channels = arranged(found.shape, layout)
    return channels, height, width, found.dtype.name


def npy_values(data: bytes, layout: Layout) -> NDArray[Any]:
    """Height x width x channels, of the type that they are stored in. Raises BadImage."""
    data, layout = _with_axes(data, layout)
    found = _header(data)
    shape = arranged(found.shape, layout)
    values = np.frombuffer(data, found.dtype, offset=found.start)
    values = values.reshape(found.shape, order="F" if found.fortran else "C")
    values = values.astype(found.dtype.newbyteorder("="), copy=False)
    return np.moveaxis(values, 0, 2) if _first(found.shape, layout) else values.reshape(shape)


def arranged(shape: tuple[int, ...], layout: Layout) -> tuple[int, int, int]:
    """(height, width, channels) of an array of this shape; BadImage when that is not clear, or too large.

    Up to four on the last axis are channels. More are, where it is the shortest, or the other two are alike. Else the
    first axis may be the channels, as torch has them, and somebody has to say.
    """
    if len(shape) == 2:
        shape = (*shape, 1)
    elif _first(shape, layout):
        shape = (*shape[1:], shape[0])
    elif (
        layout == "auto" and shape[2] > _COLORS and shape[2] >= min(shape[:2]) and not shape[0] == shape[1] != shape[2]
    ):
        looks = "looks like channels x height x width; transpose" if shape[0] <= shape[1] else "transpose"
        raise BadImage(
            f"has the shape {' x '.join(map(str, shape))}, which is not clearly height x width x channels: {looks} it, "
            "or say what it is: data.layout channels_first or channels_last",
            "unclear axes",
        )
    height, width, channels = shape
    check_size(height, width)
    return height, width, channels


def _first(shape: tuple[int, ...], layout: Layout) -> bool:
    return len(shape) == 3 and layout == "channels_first"


def _header(data: bytes) -> ArrayHeader:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # the header is a Python literal: damaged, it raises anything
        raise BadImage(f"damaged .npy header: {error}") from None
    if (
        not all(type(side) is int and side > 0 for side in shape)
        or len(shape) not in (2, 3)
        or dtype.kind not in _KINDS
    ):
        raise BadImage(f"needs height x width x channels of numbers, has {shape} of {dtype}"[:300], "unsupported")
    check_size(*sorted(shape)[-2:])
    if len(data) - stream.tell() != np.prod(shape, dtype=object) * dtype.itemsize:
        raise BadImage(f"is not as long as its header says ({shape} of {dtype})"[:300])
    return ArrayHeader(shape, dtype, fortran, stream.tell())
