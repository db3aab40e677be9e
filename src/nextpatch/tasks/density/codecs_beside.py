"""Lengths of images as lossless files of common kinds: what a density is compared with."""

from __future__ import annotations

import io
from typing import Any, Literal

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from nextpatch.core.errors import UserError

Kind = Literal["png", "webp"]
_OPTIONS: dict[Kind, dict[str, Any]] = {
    "png": {"optimize": True},
    "webp": {"lossless": True, "quality": 100, "method": 6, "exact": True},
}


def plain_bits(image: UInt8[Tensor, "channels height width"], kind: Kind) -> int:
    """Bits of the file, its header included; UserError for images that such files cannot hold."""
    if len(image) not in (1, 3):
        raise UserError(f"{kind} holds images of 1 or 3 channels, and these have {len(image)}; leave out against")
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(out, kind.upper(), **_OPTIONS[kind])
    return 8 * len(out.getvalue())
