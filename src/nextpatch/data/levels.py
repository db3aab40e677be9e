"""The values that images of more than 8 bits hold: what a range is chosen by, and what a wrong range would lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 4096  # values kept of an image
_TAIL = 0.1  # per cent left out at either end by percentiles


class Levels(NamedTuple):
    """Of some images: their type, how many, the least and the greatest value, and evenly spread ones between."""

    kind: str
    images: int
    least: float
    most: float
    sample: tuple[float, ...] = ()

    def and_also(self, other: Levels) -> Levels:
        """Of both together; the type is that of the most images."""
        kind = self.kind if self.images >= other.images else other.kind
        least, most = min(self.least, other.least), max(self.most, other.most)
        return Levels(kind, self.images + other.images, least, most, self.sample + other.sample)

    def percentiles(self) -> tuple[float, float]:
        """The values below which and above which a thousandth lies."""
        low, high = np.percentile(self.sample, (_TAIL, 100 - _TAIL)).tolist()
        return _apart(low, high)

    def extremes(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return _apart(self.least, self.most)


def levels_of(values: NDArray[Any], sampled: bool = True) -> Levels | None:
    """Of one image; infinite values and not-a-number do not count. None where no other is there, or of 8 bits."""
    if values.dtype == np.uint8 or values.dtype.kind not in "uif":
        return None
    flat = values.reshape(-1)
    finite = flat[np.isfinite(flat)] if values.dtype.kind == "f" else flat
    if not len(finite):
        return None
    sample = finite[:: max(1, len(finite) // _SAMPLE)].astype(float).tolist() if sampled else ()
    return Levels(values.dtype.name, 1, float(finite.min()), float(finite.max()), tuple(sample))


def advice(levels: Levels | None, pixel_range: Sequence[float]) -> str:
    """What is wrong with the range for these images, and what to do; nothing when it is used, or none is needed."""
    if levels is None:
        return ""
    seen = f"{levels.kind} values from {levels.least:,g} to {levels.most:,g}"
    if not pixel_range and not _has_range(levels):
        return f"{seen} need a range: data.pixel_range LOW HIGH, or data.range_from survey"
    low, high = pixel_range or ((0, 65535) if levels.kind == "uint16" else (0, 1))
    if levels.most - low >= (high - low) / 2 and levels.least <= high:
        return ""
    whole = levels.kind == "uint16" and not pixel_range
    bits = f", {max(1, int(levels.most).bit_length())} of 16 bits," if whole else ""
    return (
        f"{seen}{bits} fill a small part of the range {low:,g} to {high:,g}: the model would see dark pictures. Say "
        "which values are black and white: data.pixel_range LOW HIGH, or data.range_from survey"
    )


def _has_range(levels: Levels) -> bool:
    """Whether numbers of this type have a range of their own."""
    return levels.kind == "uint16" or (levels.kind.startswith("float") and 0 <= levels.least <= levels.most <= 1)


def _apart(low: float, high: float) -> tuple[float, float]:
    return (low, high) if low < high else (low, low + 1)
