"""What every decoder shares: the reason why not, the cap on size, and the way to 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextpatch.core.errors import UserError

MAX_PIXELS = 100_000_000


class BadImage(UserError):
    """These bytes are not a usable image; the message is the reason, `kind` a short word to count by."""

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        return type(self), (str(self), self.kind)


def check_size(height: int, width: int) -> None:
    """BadImage when there are more pixels than may be decoded."""
    if height * width > MAX_PIXELS:
        raise BadImage(f"{width}x{height} is over the cap of {MAX_PIXELS:,} pixels", "too large")


def scaled_to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Integers are 16 bits, floats lie in [0, 1]. Pillow's own conversion clips both at 255: photographs turn white."""
    top = 1.0 if values.dtype.kind == "f" else 65535.0
    scaled = values.astype(np.float64) * (255.0 / top)
    if not ((scaled >= 0) & (scaled <= 255)).all():  # also false for a NaN
        raise BadImage(f"holds values outside 0 to {top:g}; save it with 8 or 16 bits", "unsupported")
    return scaled.round().astype(np.uint8)
