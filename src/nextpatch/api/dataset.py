"""Images with what is known of them: a name, labels, classes; by number as pictures, and as a source for the tasks."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from nextpatch.core.text import shown
from nextpatch.data.decode import decode, header
from nextpatch.data.encoding import encoded
from nextpatch.data.error import DataError
from nextpatch.data.sources.labels import NO_LABEL, labels_of
from nextpatch.data.sources.memory import Items, MemorySource, Parts
from nextpatch.data.sources.source import Source, digest_of

_NAME = re.compile(r"[\w.-]+")
_UNLABELED = "give (images, labels), a list of (image, label), or nextpatch.dataset(images, labels)"
_OF_PILLOW = (1, 3, 4)  # channels


class Dataset:
    """Images in memory, perhaps with labels, under a name; see `dataset`, which makes one."""

    def __init__(
        self, parts: Parts, name: str = "", names: tuple[str, ...] = (), classes: tuple[str, ...] = ()
    ) -> None:
        if name and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise DataError(f"the name '{shown(name)}' may hold letters, digits, '.', '_' and '-' alone")
        _check_first(parts)
        self._parts, self._name, self.names = parts, name, names
        if classes:
            self._parts = replace(parts, labels=lambda: _numbered(parts.labels(), classes), classes=classes)

    def __len__(self) -> int:
        return len(self._parts.items)

    def __getstate__(self) -> dict[str, Any]:
        """For another process: labels and digest as they are now, and not what would find them."""
        labels, digest = self._parts.labels(), self._parts.digest()
        found = replace(self._parts, labels=partial(_same, labels), digest=partial(_same, digest))
        return {**vars(self), "_parts": found}

    def __repr__(self) -> str:
        name = self._name or ", ".join(self.names)
        return f"<nextpatch dataset{f' {name!r}' if name else ''} of {len(self):,} images>"

    def __getitem__(self, number: Any) -> Any:
        """(image, class number or None); of a slice a dataset of these images."""
        if isinstance(number, slice):
            return self._part(range(*number.indices(len(self))))
        place = operator.index(number)
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self):,} images, and none of number {number}")
        place %= len(self)
        return picture_of(self.labeled.read(place)), self.labeled.label(place)

    def _part(self, indices: range) -> Dataset:
        """Some of the images, of the same classes."""
        parts, given = self._parts, self.labeled
        if not indices:
            raise DataError("none of the images is in this slice; give one that holds some")
        keys = None if parts.keys is None else tuple(parts.keys[i] for i in indices)
        labels = [given.label(i) for i in indices] if given.classes else None
        return Dataset(
            Parts(
                Part(parts.items, indices), lambda: labels, lambda: digest_of([self._digest, str(indices)]),
                given.classes, keys,
            )
        )  # fmt: skip

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number; none without labels."""
        return self.labeled.classes

    @cached_property
    def unlabeled(self) -> Source:
        """The images alone."""
        return MemorySource(
            self._parts.items, self._digest, self._name, keys=self._parts.keys, why_unlabeled=_UNLABELED
        )

    @cached_property
    def labeled(self) -> Source:
        """With their classes, where there are labels."""
        given = self._parts.labels()
        if given is None:
            return self.unlabeled
        column = _column(given)
        if pa.types.is_integer(column.type) and (pc.min(column).as_py() or 0) < NO_LABEL:
            raise DataError(f"labels go down to {pc.min(column)}; classes are numbered from 0, and -1 is no label")
        found = labels_of([column], "its labels", self._parts.classes)
        digest = digest_of([self._digest, *found.classes, *map(str, found.labels.tolist())])
        name = f"{self._name or digest[:12]}:labeled"
        return MemorySource(
            self._parts.items, digest, name, found.labels, found.classes, self._parts.keys, found.why_none
        )

    @cached_property
    def _digest(self) -> str:
        return digest_of([self._name, str(len(self))]) if self._name else self._parts.digest()


def _same(value: Any) -> Any:
    return value


class Part:
    """Some of the images, by their number among these."""

    def __init__(self, items: Items, indices: range) -> None:
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._items[self._indices[index]]


class Encoded:
    """The images of a source as files, by number."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> bytes:
        return self._source.read(int(index))


def parts_of_source(source: Source) -> Parts:
    """The images of a source that is open, with its labels and names."""

    def labels() -> list[int | None] | None:
        return [source.label(i) for i in range(len(source))] if source.classes else None

    return Parts(Encoded(source), labels, lambda: source.digest, source.classes)


def picture_of(data: bytes) -> Any:
    """An encoded image as one of Pillow, upright, 8 bits; an array "height width channels" of other channels."""
    pixels = decode(data, header(data).channels).permute(1, 2, 0).numpy()
    if pixels.shape[2] not in _OF_PILLOW:
        return np.ascontiguousarray(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _check_first(parts: Parts) -> None:
    """DataError where the first image is none: then all others are most likely none for the same reason."""
    try:
        first = parts.items[0]
    except Exception:  # of somebody's own data set: anything; the image is skipped and counted, as everywhere
        return
    try:
        encoded(first)
    except OSError:
        return  # a file that is not there: skipped, too
    except DataError as error:
        raise DataError(f"the first of {len(parts.items):,} images: {error}") from None


def _numbered(labels: Sequence[Any] | None, classes: tuple[str, ...]) -> Sequence[Any]:
    """Names as their numbers among the classes; DataError where one is none of them, or there are no labels."""
    if labels is None:
        raise DataError("classes names what labels are, and there are none: give labels=...")
    known = {name: number for number, name in enumerate(classes)}
    found = [known.get(label, label) if isinstance(label, str) else label for label in labels]
    for label in found:
        if label and (isinstance(label, str) or label >= len(classes)):
            raise DataError(f"label '{shown(label)}' is none of the {len(classes):,} classes; name all classes")
    return found


def _column(labels: Sequence[Any]) -> Any:
    try:
        return pa.array(labels, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"labels must be class numbers or class names, one kind of the two: {error}") from None
