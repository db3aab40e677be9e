"""The paper's augmentation for labeled training: crop, flip, RandAugment, colour jitter, from one generator."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from nextpatch.core.random import all_seeded
from nextpatch.data.config import IMAGENET_MEAN, DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.views import train_view

RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
JITTER = 0.3
_CROP = DataConfig(crop_scale=(0.08, 1.0), crop_ratio=(0.75, 4 / 3), flip=0.5)


@dataclass(frozen=True)
class Augment:
    """RandomResizedCrop (0.08 to 1, bicubic), flip, then RandAugment and colour jitter of 8-bit pixels.

    Source: Table 11, which names both; timm's own recipe leaves the jitter out where there is RandAugment, and which
    of the two the paper's code did is not known. Images of other than one or three channels have no colours to change:
    they are cropped and flipped.
    """

    size: tuple[int, int]
    colors: bool = True

    def __call__(
        self, image: UInt8[Tensor, "channels height width"], rng: np.random.Generator
    ) -> UInt8[Tensor, "channels out_height out_width"]:
        """One view; the same for the same state of `rng`. DataError when timm is not installed."""
        view = train_view(image, self.size, _CROP, rng)
        if not self.colors or len(view) not in (1, 3):
            return view
        pixels = view.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        picture = Image.fromarray(pixels)
        with all_seeded(rng):
            for change in _changes(self.size):
                with suppress(ValueError):  # posterized to 0 bits, a black image, which Pillow refuses: left as it is
                    picture = change(picture)
        changed = np.array(picture if len(view) == 3 else picture.convert("L"))
        return torch.from_numpy(changed.reshape(*self.size, len(view))).permute(2, 0, 1)


@cache
def _changes(size: tuple[int, int]) -> tuple[Any, ...]:
    try:
        from timm.data.auto_augment import rand_augment_transform
    except ImportError:
        raise DataError("augmentation needs timm; install it with: pip install 'nextpatch[measure]'") from None
    from torchvision.transforms import ColorJitter

    hints = {
        "translate_const": int(min(size) * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in IMAGENET_MEAN),
        "interpolation": Image.Resampling.BICUBIC,
    }
    return rand_augment_transform(RAND_AUGMENT, hints), ColorJitter(JITTER, JITTER, JITTER)
