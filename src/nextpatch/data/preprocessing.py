"""How the values of a file become what a model is given: their range, axes and pages, and the evaluation view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag

Layout = Literal["auto", "channels_last", "channels_first"]
Pages = Literal["first", "bands"]
Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Preprocessing:
    """Everything between a file and the 8-bit view, but size and channels. Weights keep it, so that features use it."""

    pixel_range: tuple[float, ...] = ()
    """Values (low, high) that become black and white in images of more than 8 bits; what lies beyond is clipped.

    Empty: the whole range of 16 bits, and floats in [0, 1]. Not-a-number is black.
    """
    layout: Layout = "auto"
    """Axes of arrays; "auto" takes height x width x channels and refuses what does not look so."""
    pages: Pages = "first"
    """Of a TIFF with several pages of one size: the first, or all of them as bands of one image."""
    keep_exact: bool = True
    """In the evaluation view, an image of exactly the model's size is left as it is."""
    crop_ratio: float = 0.875
    """The evaluation view is resized until the model's size / `crop_ratio` is covered, and cropped from the center."""
    interpolation: Interpolation = "bicubic"
    """How the evaluation view is resized."""

    def __post_init__(self) -> None:
        check_bounds(self, pixel_range=(-1e300, 1e300), crop_ratio=(0.05, 1.0))
        if len(self.pixel_range) not in (0, 2) or (self.pixel_range and self.pixel_range[0] >= self.pixel_range[1]):
            raise ConfigError(
                f"pixel_range {list(self.pixel_range)} needs two numbers, the value that becomes black below the one "
                "that becomes white, or none"
            )

    def view(self, size: tuple[int, int]) -> str:
        """The evaluation view in words, for a size of (height, width)."""
        rows, columns = (round(side / self.crop_ratio) for side in size)
        kept = ", an image of exactly this size is left as it is" if self.keep_exact else ""
        return f"resized to cover {rows} x {columns} px ({self.interpolation}), center {size[0]} x {size[1]}{kept}"


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How images are seen, where it is to differ from what the weights say (see `nextpatch.load`)."""

    img_size: Annotated[tuple[int, int] | None, Flag("H W")] = None
    """Height and width that the model sees, multiples of its patch size (default: as the weights say)."""
    pixel_range: Annotated[tuple[float, float] | None, Flag("LOW HIGH")] = None
    """Pixel values that become black and white, for images of more than 8 bits (default: as the weights say)."""
    layout: Layout | None = None
    """Order of the axes of arrays (default: as the weights say)."""


AS_OURS = Preprocessing()
AS_RELEASED = Preprocessing(keep_exact=False)  # 224: the shorter side to 256, crop 224, whatever the image's size
