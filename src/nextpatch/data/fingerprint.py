"""What a collection was when work on it began, so that work that goes on can tell whether it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nextpatch.core.errors import FileError
from nextpatch.data.sources.source import Samples, digest_of

SAMPLED = 64  # image files whose bytes are read: some milliseconds
SAMPLED_ROWS = 4  # images in shards: each may bring a whole row group with it
LABELED = 100_000


@dataclass(frozen=True)
class Fingerprint:
    """Digests (SHA-256, in hexadecimal) of what can change in a collection. An empty one is not known.

    `order`: names of images and their order. `sizes` and `times`: of local files, in bytes and of their last change.
    `sample`: the bytes of 64 images, evenly spaced (4 in shards, none on another machine).
    `labels`: the classes of images and their names.
    """

    images: int
    order: str
    sizes: str
    times: str
    sample: str
    labels: str


def fingerprint_of(source: Samples, labels: bool = True) -> Fingerprint:
    """The fingerprint of a source; an image that cannot be read counts as unreadable, never as an error.

    Without `labels` none is looked at: where they do not matter, or must stay closed.
    """
    count = len(source)
    random_access, remote = getattr(source, "random_access", True), getattr(source, "remote", False)
    sizes, times = _stamps(getattr(source, "files", list)())
    return Fingerprint(
        images=count,
        order=str(getattr(source, "digest", source.name)),
        sizes=sizes,
        times=times,
        sample=digest_of_images(source, _spread(count, SAMPLED if random_access else SAMPLED_ROWS))
        if not remote
        else "",
        labels=_labels(source) if labels else "",
    )


def fingerprint_from(values: object) -> Fingerprint:
    """A fingerprint that was written down as plain values; FileError when it is not whole."""
    kinds = {item.name: int if item.name == "images" else str for item in fields(Fingerprint)}
    if not isinstance(values, dict) or any(type(values.get(name)) is not kind for name, kind in kinds.items()):
        raise FileError("the fingerprint of a collection is not whole")
    return Fingerprint(**{name: values[name] for name in kinds})


def changes(then: Fingerprint, now: Fingerprint, times: bool = True) -> str:
    """What differs, in words, or an empty text; what one of the two does not know is not compared.

    Files that were copied have other times: leave them out of it with `times=False`.
    """
    words = {"images": "the number of images", "order": "names or order of the images", "labels": "the labels"}
    words |= {"sizes": "sizes of files", "sample": "contents of images", "times": "times of files"}
    different = [
        words[item.name]
        for item in fields(Fingerprint)
        if (times or item.name != "times")
        and getattr(then, item.name) != getattr(now, item.name)
        and "" not in (getattr(then, item.name), getattr(now, item.name))
    ]
    return ", ".join(different)


def same_images(then: Fingerprint, now: Fingerprint) -> bool:
    """Whether both are of the same images in the same order with the same labels, wherever they lie."""
    return not changes(then, now, times=False)


def _stamps(files: Sequence[Path]) -> tuple[str, str]:
    """Digests of sizes and of times of local files; empty where there are none."""
    if not files:
        return "", ""
    sizes, times = hashlib.sha256(), hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
            size, changed = status.st_size, status.st_mtime_ns
        except OSError:
            size, changed = -1, 0
        sizes.update(b"%d " % size)
        times.update(b"%d " % changed)
    return sizes.hexdigest(), times.hexdigest()


def digest_of_images(source: Samples, indices: Sequence[int]) -> str:
    """SHA-256 of the bytes of these images, in hexadecimal; one that cannot be read counts as unreadable."""
    total = hashlib.sha256()
    for index in indices:
        try:
            total.update(hashlib.sha256(source.read(index)).digest())
        except (OSError, ValueError):
            total.update(b"unreadable")
    return total.hexdigest()


def _labels(source: Samples) -> str:
    return digest_of([*source.classes, *(str(source.label(index)) for index in _labeled(source))])


def _labeled(source: Samples) -> list[int]:
    """Of which images the class is looked at: all up to a hundred thousand, then so many evenly spaced ones."""
    return _spread(len(source) if source.classes else 0, LABELED)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of 0 .. count - 1, evenly spaced."""
    found: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)).tolist()
    return found
