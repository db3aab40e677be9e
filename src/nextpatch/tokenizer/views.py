"""What a tokenizer is fitted on: views of images as pre-training makes them, so that it meets what it will encode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.data.loader import TrainStream
from nextpatch.data.skipped import Bad
from nextpatch.data.views import to_model_input


@dataclass(frozen=True)
class Views:
    """An endless stream of cropped and flipped images. View p is a pure function of (seed, p), whatever the workers."""

    stream: TrainStream
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int  # positions to fit on: at most one pass over the collection, where the kind does not want more
    device: torch.device

    @property
    def in_chans(self) -> int:
        """Channels of a view."""
        return self.stream.channels

    @property
    def bad(self) -> Bad:
        """Images that were passed over so far."""
        return self.stream.bad

    def pixels(self, start: int, size: int) -> Iterator[UInt8[Tensor, "batch channels height width"]]:
        """Views of positions `start`, `start` + 1 ... as bytes on the CPU, `size` at a time, without end."""
        with closing(self.stream.batches(start, size)) as batches:
            for batch in batches:
                yield batch.images

    def batches(self, start: int, size: int) -> Iterator[Float[Tensor, "batch channels height width"]]:
        """The same normalized, on the device. DataError when too many images cannot be used."""
        for images in self.pixels(start, size):
            yield self.normalized(images)

    def normalized(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Bytes as a tokenizer takes them, on the device."""
        return to_model_input(images, self.mean, self.std, self.device)
