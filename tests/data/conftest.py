"""Small sources for the data room's tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


def encode(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


class MemorySource:
    """Encoded images in a list."""

    def __init__(self, images: list[bytes], labels: list[int] | None = None) -> None:
        self.name = "memory"
        self.classes = tuple(map(str, range(max(labels) + 1))) if labels else ()
        self._images, self._labels = images, labels
        self.digest = str(len(images))
        self.shard_sizes, self.random_access, self.remote = np.array([len(images)]), True, False

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> bytes:
        if self._images[index] == b"gone":
            raise FileNotFoundError("no such file")
        return self._images[index]

    def key(self, index: int) -> str:
        return f"{index}.png"

    def label(self, index: int) -> int | None:
        return self._labels[index] if self._labels else None

    def prefetch(self, shard: int) -> None: ...


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encodes an array; PNG unless told otherwise."""
    return encode


@pytest.fixture
def noise() -> Callable[..., NDArray[np.uint8]]:
    """Random pixels of a shape, always the same for the same seed."""
    return lambda *shape, seed=0: np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def memory() -> Callable[..., MemorySource]:
    """A source of `count` grey 8 x 8 images, where image i has the level 3 i, and those in `bad` do not decode."""

    def make(count: int, bad: tuple[int, ...] = (), labels: list[int] | None = None) -> MemorySource:
        ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
        images = [b"garbage" if i in bad else encode(ramp + np.uint8(3 * i % 190)) for i in range(count)]
        return MemorySource(images, labels)

    return make
