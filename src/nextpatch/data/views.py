"""What the model sees of an image: the training crop, the evaluation view, and the normalized input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from nextpatch.data.config import DataConfig
from nextpatch.data.preprocessing import AS_OURS, Interpolation, Preprocessing

_STRIP = 32  # how many times larger than the view a resized image may be, when it is larger than the image itself
_LONGEST = 2**20  # px of a side: the weights of a resize take 32 bytes for each


def train_view(
    image: UInt8[Tensor, "channels height width"], size: tuple[int, int], cfg: DataConfig, rng: np.random.Generator
) -> UInt8[Tensor, "channels out_height out_width"]:
    """RandomResizedCrop to `size` = (height, width), then a flip; all chance comes from `rng`.

    Source: Table 10. Nothing else: no color jitter.
    """
    top, left, height, width = crop_box(image.shape[1], image.shape[2], cfg, rng)
    view = _resized(image[:, top : top + height, left : left + width], size)
    return view.flip(-1) if rng.random() < cfg.flip else view


def crop_box(height: int, width: int, cfg: DataConfig, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) with area in `crop_scale` of the image and aspect width / height in `crop_ratio`.

    Ten draws, then the largest centered box of an allowed aspect: torchvision's rule, with our generator. A scale of
    exactly (1, 1) takes the whole image, whatever its aspect.
    """
    if cfg.crop_scale == (1.0, 1.0):
        return 0, 0, height, width
    for _ in range(10):
        area = height * width * rng.uniform(*cfg.crop_scale)
        aspect = math.exp(rng.uniform(math.log(cfg.crop_ratio[0]), math.log(cfg.crop_ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    aspect = min(max(width / height, cfg.crop_ratio[0]), cfg.crop_ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    return (height - h) // 2, (width - w) // 2, h, w


def eval_view(
    image: UInt8[Tensor, "channels height width"], size: tuple[int, int], preprocessing: Preprocessing = AS_OURS
) -> UInt8[Tensor, "channels out_height out_width"]:
    """Resize, keeping the aspect, until `size` / `crop_ratio` is just covered; then crop the center.

    With `keep_exact` an image of exactly `size` is returned as it is: small data sets are made for their own size.
    Source: the released evaluation transform (224: shorter side to 256, crop 224), extended to sizes that are not
    square. Of a strip, whose resized whole would be much larger than itself and than the view, only the part around
    the center is resized.
    """
    height, width = image.shape[1:]
    if preprocessing.keep_exact and (height, width) == size:
        return image
    rows, columns = (round(side / preprocessing.crop_ratio) for side in size)
    by_height = rows * width >= columns * height
    covering = (rows, width * rows // height) if by_height else (height * columns // width, columns)
    if covering[0] * covering[1] > max(height * width, _STRIP * rows * columns):
        long = -(-height * columns // rows) if by_height else -(-width * rows // columns)
        image, covering = _middle(image, long, by_height), (rows, columns)
    resized = _resized(image, covering, preprocessing.interpolation)
    top, left = round((covering[0] - size[0]) / 2), round((covering[1] - size[1]) / 2)
    return resized[:, top : top + size[0], left : left + size[1]]


def _middle(image: Tensor, length: int, across: bool) -> Tensor:
    """So many columns, or rows, from the middle."""
    start = (image.shape[2 if across else 1] - length) // 2
    return image.narrow(2 if across else 1, max(0, start), length)


def _resized(
    image: UInt8[Tensor, "channels height width"], size: tuple[int, int], interpolation: Interpolation = "bicubic"
) -> UInt8[Tensor, "channels out_height out_width"]:
    """With antialiasing, in 8 bits: torchvision's result without its overhead, which counts at 28 pixels.

    Three channels are resized, and stay, pixel by pixel in memory: a quarter faster than plane by plane, the same bits.
    Torch resizes rows first. Where that would make a strip much larger than it is, its columns are resized first; and
    of a side of more than a million pixels only every so many are looked at.
    """
    if image.shape[1:] == size:
        return image
    height, width = image.shape[1:]
    image = image[:, :: -(-height // _LONGEST), :: -(-width // _LONGEST)]
    whole = image[None]
    if len(image) == 3:
        whole = whole.contiguous(memory_format=torch.channels_last)
    if image.shape[1] * size[1] > max(image.shape[1] * image.shape[2], _STRIP * size[0] * size[1]):
        whole = interpolate(whole, size=(size[0], image.shape[2]), mode=interpolation, antialias=True)
    return interpolate(whole, size=size, mode=interpolation, antialias=True)[0]


def stacked(
    views: Iterable[UInt8[Tensor, "channels height width"]], count: int
) -> UInt8[Tensor, "batch channels height width"]:
    """`count` views, at least one, as a batch, in memory as the first of them is: copied, not rearranged.

    Each is put in its place as it comes, so that the next one is made in the same memory.
    """
    batch = torch.empty(0, dtype=torch.uint8)
    for number, view in enumerate(views):
        if not number:
            channels, height, width = view.shape
            rows_first = (count, height, width, channels)
            planes_first = (count, channels, height, width)
            by_pixel = view.stride(0) == 1
            batch = batch.new_empty(rows_first if by_pixel else planes_first)
            batch = batch.permute(0, 3, 1, 2) if by_pixel else batch
        batch[number] = view
    return batch


def to_model_input(
    images: UInt8[Tensor, "batch channels height width"] | Float[Tensor, "batch channels height width"],
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> Float[Tensor, "batch channels height width"]:
    """Pixels from 0 to 255 as floats, normalized per channel; made on `device`: bytes travel, not floats."""
    there = images.to(device, non_blocking=True).float()
    center, scale = (torch.tensor(v, device=there.device).view(1, -1, 1, 1) * 255 for v in (mean, std))
    return (there - center) / scale


def to_pixels(
    inputs: Float[Tensor, "batch channels height width"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "batch channels height width"]:
    """Back from the model's input to pixels, from 0 to 1 for those of an image."""
    center, scale = (torch.tensor(v, device=inputs.device).view(1, -1, 1, 1) for v in (mean, std))
    return inputs * scale + center
