"""Images that a program holds - a list, an array, a data set of its own - as a source like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Integer
from PIL import Image
from torch import Tensor

from nextpatch.data.encoding import Given, encoded
from nextpatch.data.error import DataError
from nextpatch.data.sources.held import PREFIX
from nextpatch.data.sources.source import digest_of

_SAMPLED = 64  # images whose contents tell data sets apart that make each image anew


@runtime_checkable
class Items(Protocol):
    """Images by number, each the same whenever it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: Any, /) -> Given: ...


@dataclass(frozen=True)
class Parts:
    """Images by number, their labels (None: there are none), and what tells them from others.

    `labels` and `digest` may take a pass over all images, and are called where they are needed.
    """

    items: Items
    labels: Callable[[], Sequence[Any] | None]
    digest: Callable[[], str]
    classes: tuple[str, ...] = ()
    keys: tuple[str, ...] | None = None


class MemorySource:
    """`items` in their order, called `python:NAME`; recipes and files of features keep this name.

    `digest` stands for the contents: a run goes on with images of the same digest only. Without `labels` (-1: none)
    there are no classes. `keys`: what the images are called, where that is not the name with their number.
    """

    def __init__(
        self,
        items: Items,
        digest: str,
        name: str = "",
        labels: Integer[np.ndarray, " images"] | None = None,
        classes: Sequence[str] = (),
        keys: Sequence[str] | None = None,
        why_unlabeled: str = "",
    ) -> None:
        self.name = PREFIX + (name or digest[:12])
        self.items, self.digest, self.classes = items, digest, tuple(classes)
        self._labels, self._keys, self.why_unlabeled = labels, keys, why_unlabeled
        self.shard_sizes = np.array([len(items)])
        self.random_access, self.remote = True, False

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> bytes:
        """The image as a file; OSError for one that is no image, or that cannot be made."""
        try:
            return encoded(self.items[index])
        except OSError:
            raise
        except Exception as error:  # of somebody's own data set: anything; the others may be sound
            said = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            raise OSError(said) from error

    def key(self, index: int) -> str:
        """Its path, or the name with its number."""
        return f"{self.name}#{index}" if self._keys is None else self._keys[index]

    def label(self, index: int) -> int | None:
        """The number of its class; None for one without."""
        if self._labels is None or not self.classes or self._labels[index] < 0:
            return None
        return int(self._labels[index])

    def prefetch(self, shard: int) -> None:
        """Nothing to do: the images are here."""


def digest_of_all(items: Items) -> str:
    """SHA-256, in hexadecimal, of the contents of all: every pixel, every byte; of files the names."""
    return digest_of(_content_or_error(items, number) for number in range(len(items)))


def digest_of_some(items: Items, what: str) -> str:
    """SHA-256, in hexadecimal, of `what` they are, how many, and the contents of 64 of them, evenly spread."""
    few = (_content_or_error(items, number) for number in some_of(len(items)))
    return digest_of([what, str(len(items)), *few])


def some_of(count: int) -> list[int]:
    """The numbers of 64 of so many, evenly spread, the first and the last among them."""
    found: list[int] = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(np.int64)).tolist()
    return found


def _content_or_error(items: Items, number: int) -> str:
    try:
        return _content(items[number])
    except Exception as error:  # a bad image stays one
        return type(error).__name__


def _content(item: Given) -> str:
    if isinstance(item, (str, Path)):
        return str(item)
    if isinstance(item, bytes):
        return hashlib.sha256(item).hexdigest()
    if isinstance(item, Image.Image):
        return f"{item.mode} {item.size} {hashlib.sha256(item.tobytes()).hexdigest()}"
    if isinstance(item, Tensor):
        return f"{item.dtype} {_content(_plain(item))}"
    if isinstance(item, np.ndarray) and item.dtype != object:
        return f"{item.dtype} {item.shape} {hashlib.sha256(item.tobytes()).hexdigest()}"
    return type(item).__name__


def _plain(tensor: Tensor) -> np.ndarray:
    here = tensor.detach().cpu()
    found: np.ndarray = (here.float() if here.dtype == torch.bfloat16 else here).numpy()
    return found
