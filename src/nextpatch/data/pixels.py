"""What every decoder shares: the reason why not, the cap on size, and the way to 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpatch.core.errors import UserError

MAX_PIXELS = 100_000_000
_BLOCK = 2**20  # values converted at a time


WRONG_CHANNELS = "wrong channels"  # a kind of BadImage


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


@contextmanager
def only_bad_images() -> Iterator[None]:
    """Whatever a decoder or a reader of headers raises, or warns of, in the block: nothing but a BadImage leaves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata warns, and our cap is stricter than Pillow's warning of bombs
        try:
            yield
        except BadImage:
            raise
        except Exception as error:  # on damaged bytes libraries raise anything: struct.error, KeyError, MemoryError ...
            raise BadImage(str(error) if error.args else type(error).__name__) from None


def to_8_bits(values: NDArray[Any], pixel_range: Sequence[float] = ()) -> NDArray[np.uint8]:
    """The values of `pixel_range` (low, high) as 0 to 255, what lies beyond clipped, not-a-number as black.

    8 bits stay as they are, true is white. Without a range it is that of 16 bits, and floats must lie in [0, 1]; of
    other numbers it cannot be known. Pillow's own conversion clips at 255: photographs turn white.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "buif":
        raise BadImage(f"holds {values.dtype}; save it as numbers of 8 or 16 bits", "unsupported")
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    low, high = pixel_range or _usual_range(values)
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), rows := max(1, _BLOCK // max(1, values[:1].size))):
        block = values[start : start + rows].astype(np.float64)
        block = np.nan_to_num((block - low) * (255.0 / (high - low)), nan=0.0, posinf=255.0, neginf=0.0)
        scaled[start : start + rows] = block.clip(0, 255).round()
    return scaled


def _usual_range(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype == np.uint16:
        return 0.0, 65535.0
    least, most = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and 0 <= least <= most <= 1:  # false for a NaN
        return 0.0, 1.0
    what = "floats in [0, 1]" if values.dtype.kind == "f" else "8 or 16 bits without a sign"
    raise BadImage(
        f"holds {values.dtype.name} from {least:g} to {most:g}, not {what}; say which values are black and white: "
        "data.pixel_range LOW HIGH, or data.range_from survey",
        "needs a range",
    )
