"""Image and patch size that suit a collection."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, isqrt

from nextpatch.config import ConfigError

LONGEST_SIDE = 224
FEWEST_PATCHES, MOST_PATCHES = 16, 256


def sides_for(height: int, width: int) -> tuple[tuple[int, int], str]:
    """(height, width) to train at, before they are cut to whole patches: the images' own, at most LONGEST_SIDE."""
    if min(height, width) >= LONGEST_SIDE:
        return (LONGEST_SIDE, LONGEST_SIDE), f"the paper's; images are {height} x {width}"
    if max(height, width) <= LONGEST_SIDE:
        return (height, width), "the images' own, in whole patches"
    scale = LONGEST_SIDE / max(height, width)
    return (round(height * scale), round(width * scale)), f"the images' shape, the longer side {LONGEST_SIDE} px"


def patch_for(side: int) -> int:
    """The paper's 14 from where 8 would give more than MOST_PATCHES, then 8, 4; a quarter of still smaller images."""
    if side > 8 * isqrt(MOST_PATCHES):
        return 14
    return 8 if side >= 48 else 4 if side >= 16 else max(1, side // 4)


def dividing_patch(sides: Sequence[int]) -> int:
    """The divisor of both sides that gives FEWEST_PATCHES to MOST_PATCHES and is nearest to `patch_for`."""
    height, width = sides
    shared, wanted = gcd(height, width), patch_for(min(height, width))
    fitting = [
        p for p in range(1, shared + 1) if shared % p == 0 and FEWEST_PATCHES <= height * width // p**2 <= MOST_PATCHES
    ]
    if not fitting:
        raise ConfigError(
            f"no patch size cuts {height} x {width} px into {FEWEST_PATCHES} to {MOST_PATCHES} whole patches; "
            "give model.patch_size, or another model.img_size"
        )
    return min(fitting, key=lambda p: (abs(p - wanted), -p))
