"""Decoded images of a source; few and small ones stay in memory, because decoding them every epoch costs more."""

from __future__ import annotations

from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from nextpatch.data.decode import decode
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.sources.source import Samples


class Images:
    """Pixels by index. All images are kept when `count` of the size of the first fit into `keep_bytes`."""

    def __init__(
        self,
        source: Samples,
        channels: int,
        count: int = 0,
        keep_bytes: int = 0,
        preprocessing: Preprocessing = AS_OURS,
    ) -> None:
        self.source = source
        self.channels = channels
        self.preprocessing = preprocessing
        self._settings = (source, channels, count, keep_bytes, preprocessing)
        self._count = count
        self._room = keep_bytes
        self._kept: dict[int, Tensor] = {}

    def __reduce__(self) -> tuple[type[Images], tuple[Any, ...]]:
        """Workers start with nothing in memory."""
        return type(self), self._settings

    def __getitem__(self, index: int) -> UInt8[Tensor, "channels height width"]:
        """The image; BadImage when it cannot be decoded, OSError when it cannot even be read."""
        if index in self._kept:
            return self._kept[index]
        image = decode(self.source.read(index), self.channels, self.preprocessing)
        self._keep(index, image)
        return image

    def _keep(self, index: int, image: UInt8[Tensor, "channels height width"]) -> None:
        if not self._kept and image.numel() * self._count > self._room:
            self._room = 0
        if image.numel() <= self._room:
            self._room -= image.numel()
            self._kept[index] = image
