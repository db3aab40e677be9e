"""Images for every function: names as on the command line, or images in memory behind a name of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from nextpatch.api.adapters import is_single, parts_of
from nextpatch.core.text import shown
from nextpatch.data.encoding import encoded
from nextpatch.data.error import DataError
from nextpatch.data.sources.held import hold
from nextpatch.data.sources.labels import labels_of
from nextpatch.data.sources.memory import MemorySource, Parts
from nextpatch.data.sources.source import Source, digest_of

Images: TypeAlias = Any  # what `adapters.FORMS` says
_NAME = re.compile(r"[\w.-]+")
_COLLECTIONS = (".tar", ".parquet", ".zip", ".csv", ".tsv")


class Dataset:
    """Images in memory, perhaps with labels, under a name; see `dataset`, which makes one."""

    def __init__(self, parts: Parts, name: str = "") -> None:
        if name and not _NAME.fullmatch(name):
            raise DataError(f"the name '{shown(name)}' may hold letters, digits, '.', '_' and '-' alone")
        _check_first(parts)
        self._parts, self._name = parts, name

    def __len__(self) -> int:
        return len(self._parts.items)

    def __repr__(self) -> str:
        return f"<nextpatch dataset{f' {self._name!r}' if self._name else ''} of {len(self):,} images>"

    @cached_property
    def unlabeled(self) -> Source:
        """The images alone."""
        return MemorySource(self._parts.items, self._digest, self._name, keys=self._parts.keys)

    @cached_property
    def labeled(self) -> Source:
        """With their classes, where there are labels."""
        given = self._parts.labels()
        if given is None:
            return self.unlabeled
        found = labels_of([_column(given)], "its labels", self._parts.classes)
        digest = digest_of([self._digest, *found.classes, *map(str, found.labels.tolist())])
        name = f"{self._name or digest[:12]}:labeled"
        return MemorySource(
            self._parts.items, digest, name, found.labels, found.classes, self._parts.keys, found.why_none
        )

    @cached_property
    def _digest(self) -> str:
        return digest_of([self._name, str(len(self))]) if self._name else self._parts.digest()


def dataset(
    images: Images, labels: Sequence[int] | Sequence[str] | None = None, *, classes: Sequence[str] = (), name: str = ""
) -> Dataset:
    """Images in memory as every function of the package takes them, with labels, names of classes, or a name.

    `images`: a list of paths, PIL images, uint8 arrays "height width [channels]" or tensors "channels height width"
    (floats in [0, 1] too); an array "images height width [channels]" or a tensor "images channels height width"; a
    torch Dataset whose samples are an image or (image, label); a DataLoader, of which the data set is taken; a Hugging
    Face dataset. `labels`: class numbers or names, one for each image (-1 or None: no label). `classes`: names of the
    class numbers. Functions take the images as they are, too: this is for what they cannot say by themselves.

    A run goes on with the images that it began with, and says so when they have changed. These are known by the digest
    of every pixel of a list or an array; of a data set by its type, its length and 64 of its images, evenly spread; or
    by `name` and their number, if you give them a name. Raises DataError for what is no collection of images.

    >>> import numpy as np, nextpatch
    >>> pixels = np.zeros((12, 28, 28), np.uint8)  # twelve gray images of 28 x 28 pixels
    >>> nextpatch.dataset(pixels, labels=[0, 1] * 6, classes=["shirt", "shoe"], name="clothes")
    <nextpatch dataset 'clothes' of 12 images>
    """
    parts = parts_of(images if labels is None else (images, labels))
    if classes:
        parts = Parts(parts.items, parts.labels, parts.digest, tuple(classes), parts.keys)
    return Dataset(parts, name)


class Named(NamedTuple):
    """Names by which the tasks open images, and what must be held for as long as they do."""

    names: tuple[str, ...]
    held: tuple[Source, ...] = ()

    @property
    def in_memory(self) -> bool:
        """Whether they are in this program's memory, and not in files."""
        return bool(self.held)

    def one(self, what: str) -> str:
        """The only name; DataError where there are several."""
        if len(self.names) != 1:
            raise DataError(f"{what} is {len(self.names)} collections; give one")
        return self.names[0]


def named(data: Images, labels: bool = False, one: bool = False) -> Named:
    """Names for what a user gives; with `labels` their classes matter, and with `one` a single image will do.

    DataError for what is no collection.
    """
    data = [data] if one and is_single(data) else data
    if isinstance(data, (str, Path)):
        return Named((str(data),))
    if isinstance(data, Source):
        return Named((data.name,), (hold(data),))
    if _are_names(data):
        return Named(tuple(map(str, data)))
    found = data if isinstance(data, Dataset) else Dataset(parts_of(data))
    source = hold(found.labeled if labels else found.unlabeled)
    return Named((source.name,), (source,))


def _are_names(data: Any) -> bool:
    """Whether it is a list of names as on the command line, and not of image files."""
    if not isinstance(data, (list, tuple)) or not data or not all(isinstance(one, (str, Path)) for one in data):
        return False
    return not all(Path(one).is_file() and not str(one).endswith(_COLLECTIONS) for one in data)


def _check_first(parts: Parts) -> None:
    """DataError where the first image is none: then all others are most likely none for the same reason."""
    try:
        encoded(parts.items[0])
    except OSError:
        return  # a file that is not there: skipped and counted, as everywhere
    except DataError as error:
        raise DataError(f"the first of {len(parts.items):,} images: {error}") from None


def _column(labels: Sequence[Any]) -> Any:
    try:
        return pa.array(labels, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"labels must be class numbers or class names, one kind of the two: {error}") from None
