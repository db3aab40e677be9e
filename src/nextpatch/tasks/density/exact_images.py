"""Images as they are stored, for a model of exactly their size: what would not come back bit for bit is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.data.arrays import is_npy
from nextpatch.data.decode import BadImage, deep_values
from nextpatch.data.error import DataError
from nextpatch.data.pillow import opened
from nextpatch.data.sources.source import Samples
from nextpatch.weights.backbone import ModelInfo

Exact = UInt8[Tensor, "channels height width"]


def exact_images(source: Samples, about: ModelInfo) -> Iterator[tuple[str, Exact]]:
    """Name and pixels of every image in order; DataError for the first that is not of the model's kind."""
    for index in range(len(source)):
        key = source.key(index)
        try:
            yield key, _exact(source.read(index), about, key)
        except (BadImage, OSError) as error:
            raise DataError(f"{shown(key)} cannot be read: {error}; take it out of the collection") from None


def _exact(data: bytes, about: ModelInfo, key: str) -> Exact:
    values = deep_values(data, about.preprocessing)
    if values.dtype != np.uint8:
        raise DataError(
            f"{shown(key)} holds {values.dtype.name}: images of more than 8 bits would lose some; give images of 8 bits"
        )
    if not is_npy(data) and _sees_through(data):
        raise DataError(f"{shown(key)} is transparent in places, which would be lost; give images without transparency")
    height, width, channels = values.shape
    wanted = (about.in_chans, *about.img_size)
    if (channels, height, width) != wanted:
        raise DataError(
            f"{shown(key)} is {channels} x {height} x {width} (channels, height, width), and the model takes exactly "
            f"{' x '.join(map(str, wanted))}: nothing is resized, for that could not be undone; give images of that "
            "size, or train a model of this one"
        )
    return torch.from_numpy(np.array(values, order="C")).permute(2, 0, 1)


def _sees_through(data: bytes) -> bool:
    try:
        with opened(data) as image:
            return bool(image.has_transparency_data)
    except BadImage:  # of a kind that Pillow does not read; it was decoded, so nothing is hidden
        return False
