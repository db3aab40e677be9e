"""Pixels to data URIs, and numbers to colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextpatch.tasks.report.axes import Number

PHOTOGRAPH = 160  # px: smaller images are enlarged on the page, and their pixels must stay pixels

# viridis at ten equal steps: even in lightness, readable with any colour vision (CC0, matplotlib)
_VIRIDIS = np.array(
    [(68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
     (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37)]
) / 255  # fmt: skip


def image_uri(pixels: Float[Tensor, "channels height width"]) -> str:
    """An image in [0, 1] (clipped) as a data URI: PNG while its pixels are shown one by one, WebP for photographs.

    3 channels are colour; of more the first three are shown so, of fewer the first one in grey.
    """
    shown = pixels[:3] if pixels.shape[0] >= 3 else pixels[:1].expand(3, -1, -1)
    array = (shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file, kind = io.BytesIO(), "png" if max(array.shape[:2]) < PHOTOGRAPH else "webp"
    Image.fromarray(np.ascontiguousarray(array)).save(file, kind, quality=90)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def heat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (…, 3) in [0, 1] of values in [0, 1]: dark blue is low, yellow is high."""
    at = np.linspace(0, 1, len(_VIRIDIS))
    return np.stack([np.interp(values, at, _VIRIDIS[:, channel]) for channel in range(3)], axis=-1)


def heat_hex(values: Sequence[Number | None]) -> tuple[list[str], Number, Number]:
    """(#rrggbb per value, lowest, highest), scaled to the range of the values; a None gets the lowest's."""
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    scaled = np.array([0.0 if v is None else (v - low) / ((high - low) or 1.0) for v in values])
    rgb = (heat(scaled) * 255).round().astype(int)
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in rgb], low, high


def heat_image(values: Float[Tensor, "rows columns"]) -> Float[Tensor, "3 rows columns"]:
    """A map scaled to its own range, as colours."""
    span = (values.max() - values.min()).clamp(min=1e-12)
    colors = heat(((values - values.min()) / span).double().cpu().numpy())
    return torch.from_numpy(colors).float().permute(2, 0, 1)


def heat_gradient() -> str:
    """The scale of `heat` as a CSS gradient."""
    stops = [f"rgb({r * 255:.0f} {g * 255:.0f} {b * 255:.0f})" for r, g, b in _VIRIDIS]
    return f"linear-gradient(to right, {', '.join(stops)})"
