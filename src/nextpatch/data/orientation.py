"""The eight ways in which a picture may lie in its file, and how it is turned upright: EXIF's and TIFF's tag 274."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Transpose

ORIENTATION = 0x0112  # the tag
EXCHANGED = (5, 6, 7, 8)  # the orientations that turn height into width
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Height x width x channels as Pillow turns them; any number that is no orientation means upright."""
    if orientation not in TURNS:
        return values
    turn = TURNS[orientation].name
    values = values.transpose(1, 0, 2) if orientation in EXCHANGED else values
    rows = turn in ("FLIP_TOP_BOTTOM", "ROTATE_180", "ROTATE_90", "TRANSVERSE")
    columns = turn in ("FLIP_LEFT_RIGHT", "ROTATE_180", "ROTATE_270", "TRANSVERSE")
    return np.ascontiguousarray(values[:: -1 if rows else 1, :: -1 if columns else 1])
