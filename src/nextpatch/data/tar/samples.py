"""The samples of a tar shard: files that share a key, as WebDataset groups them, taken together.

A file's key is its name up to the first dot of the last part, its kind is the rest. A sample has one image; its label
is the integer in `cls`, or else in `json` under "label" or "cls". No other file is looked into.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from nextpatch.data.error import DataError
from nextpatch.data.tar.walk import Member, Walk

IMAGES = frozenset((b"jpg", b"jpeg", b"png", b"webp", b"bmp", b"gif", b"tif", b"tiff", b"npy"))
MAX_IMAGE = 256 * 2**20
MAX_CLASSES = 1_000_000
NO_LABEL = -1
_LABELS = {b"cls": 64, b"json": 2**20}  # read when not longer than so many bytes
_UNLIKE_WEBDATASET = "give each image a key of its own, with its files side by side (tar --sort=name does that)"


class Sample(NamedTuple):
    """Where an image's bytes lie in the shard, their CRC-32, its key and its label."""

    key: bytes
    offset: int
    size: int
    crc32: int
    label: int


@dataclass
class _Group:
    """The files of one key, so far."""

    key: bytes
    kinds: set[bytes] = field(default_factory=set)
    image: Member | None = None
    labels: dict[bytes, bytes] = field(default_factory=dict)


def kept_bytes(name: bytes) -> int:
    """How much of a file of this name is looked into: labels only."""
    return _LABELS.get(divided(name)[1], 0)


def samples(walk: Walk, place: str) -> Iterator[Sample]:
    """The samples in the order of the archive; what is no sample is counted in `walk.passed`.

    DataError, naming `place`, key and byte, when a key has two images, or comes back after another one.
    """
    seen: set[int] = set()
    group = _Group(b"")
    for member in walk:
        key, kind = divided(member.name)
        if not key:
            walk.passed["file without a key"] += 1
            continue
        if key != group.key:
            yield from _finished(group, walk.passed)
            group = _Group(key)
            known = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
            if known in seen:
                raise DataError(
                    f"{place}: key {shown(key)} comes back at byte {member.start}, after others; {_UNLIKE_WEBDATASET}"
                )
            seen.add(known)
        _add(group, kind, member, place)
    yield from _finished(group, walk.passed)


def divided(name: bytes) -> tuple[bytes, bytes]:
    """(key, kind in lower case) of a file; both empty when its last part has no dot, or begins with one."""
    folder, slash, base = name.rpartition(b"/")
    stem, dot, kind = base.partition(b".")
    return (folder + slash + stem, kind.lower()) if stem and dot else (b"", b"")


def shown(key: bytes) -> str:
    """A key as text; bytes of it that are not UTF-8 as escapes."""
    return key.decode("utf-8", "backslashreplace")


def _add(group: _Group, kind: bytes, member: Member, place: str) -> None:
    slot = b"image" if kind in IMAGES else kind
    if slot != b"image" and slot not in _LABELS:
        return
    if slot in group.kinds:
        what = "a second image" if slot == b"image" else f"a second {kind.decode()}"
        raise DataError(f"{place}: key {shown(group.key)} has {what} at byte {member.start}; {_UNLIKE_WEBDATASET}")
    group.kinds.add(slot)
    if slot == b"image":
        group.image = member
    else:
        group.labels[kind] = member.content if member.size <= _LABELS[kind] else b""


def _finished(group: _Group, passed: Counter[str]) -> Iterator[Sample]:
    """The group's sample, if it is one."""
    image = group.image
    if not group.key:
        return
    if image is None:
        passed["key without an image"] += 1
    elif image.size > MAX_IMAGE:
        passed[f"image of more than {MAX_IMAGE >> 20} MiB"] += 1
    else:
        yield Sample(group.key, image.offset, image.size, image.crc32, _label(group.labels, passed))


def _label(found: dict[bytes, bytes], passed: Counter[str]) -> int:
    """The class, or NO_LABEL; what looks like a label and is none is counted."""
    try:
        value = int(found[b"cls"]) if b"cls" in found else _label_in(json.loads(found.get(b"json", b"null")))
    except (ValueError, RecursionError):  # bytes that are not text included
        value = None if b"cls" not in found else MAX_CLASSES
    if value is None or value == NO_LABEL:
        return NO_LABEL
    if 0 <= value < MAX_CLASSES:
        return value
    passed["label that is no class number"] += 1
    return NO_LABEL


def _label_in(document: object) -> int | None:
    if isinstance(document, dict):
        for name in ("label", "cls"):
            value = document.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None
