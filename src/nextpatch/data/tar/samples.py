"""The samples of a tar shard: files that share a key, as WebDataset groups them, taken together.

A file's key is its name up to the first dot of the last part, its kind is the rest. Where the rest is no kind but part
of the name, as in `Shot at 10.30.jpg`, the key ends at the last dot. A sample has one image; its label, a number or a
name, is in `cls`, or else in `json` under "label" or "cls". Of other files only the first bytes are looked at, where
their ending does not say what they are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from nextpatch.core.text import whole_number
from nextpatch.data.error import DataError
from nextpatch.data.formats import NOT_IMAGES, START, ending_of, format_of_name, image_endings, is_read, remedy
from nextpatch.data.tar.reader import Member, TarReader

MAX_IMAGE = 256 * 2**20
_FRACTION = re.compile(r"[+-]?[0-9]*\.?[0-9]+")  # whole numbers of too many digits included
MAX_CLASSES = 1_000_000
MAX_WORD = 200  # characters of a class's name: more is a caption
NO_LABEL = -1
_LABELS = {b"cls": 1024, b"json": 2**20}  # read when not longer than so many bytes
_INPUTS = (b"image", b"img", b"input", b"rgb", b"photo", b"original", b"orig", b"source", b"src", b"left")
_ROLES = frozenset(
    b"output right mask masks seg segmentation semantic instance depth normal normals edge edges label labels target "
    b"gt dst crop thumb thumbnail caption text meta info prompt".split()
).union(_INPUTS)
_SYSTEM = (b"@eaDir", b"__MACOSX", b"#recycle", b"lost+found")
_UNLIKE_WEBDATASET = "give each image a key of its own, with its files side by side (tar --sort=name does that)"
_TWO_IMAGES = "name what is not the image KEY.mask.png or the like, or give each image a key of its own"


class Sample(NamedTuple):
    """Where an image's bytes lie in the shard, their CRC-32, its key and its label: a number, a name or NO_LABEL."""

    key: bytes
    offset: int
    size: int
    crc32: int
    label: int | str


@dataclass
class _Group:
    """The files of one key, so far."""

    key: bytes
    files: int = 0
    kinds: set[bytes] = field(default_factory=set)
    image: Member | None = None
    others: dict[bytes, Member] = field(default_factory=dict)  # images by what they are to the key: input, mask ...
    labels: dict[bytes, bytes] = field(default_factory=dict)


def kept_bytes(name: bytes) -> int:
    """How much of a file of this name is looked into: labels, and the start of what may be an image."""
    kind = divided(name)[1]
    if kind in _LABELS:
        return _LABELS[kind]
    ending = _ending(kind)
    return 0 if ending in image_endings() or ending in NOT_IMAGES else START


def samples(reader: TarReader, location: str) -> Iterator[Sample]:
    """The samples in the order of the archive; what is no sample is counted in `reader.skipped`, file by file.

    DataError, naming `location`, key and byte, when a key has two images, or comes back after another one.
    """
    seen: set[int] = set()
    group = _Group(b"")
    for member in reader:
        key, kind = divided(member.name)
        if not key:
            reader.skipped["hidden file"] += 1
            continue
        if key != group.key:
            yield from _finished(group, reader.skipped)
            group = _Group(key)
            known = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
            if known in seen:
                raise DataError(
                    f"{location}: key {shown(key)} is at byte {member.start} again, after others; {_UNLIKE_WEBDATASET}"
                )
            seen.add(known)
        _add(group, kind, member, location, reader.skipped)
    yield from _finished(group, reader.skipped)


def divided(name: bytes) -> tuple[bytes, bytes]:
    """(key, kind in lower case) of a file; both empty for hidden files and what an operating system keeps.

    As in WebDataset, but for dots within a name, and for names without any: their kind is empty.
    """
    folder, slash, base = name.rpartition(b"/")
    stem, _, rest = base.partition(b".")
    if not stem or any(part in _SYSTEM for part in folder.split(b"/")):
        return b"", b""
    *roles, last = rest.lower().split(b".")
    if all(role in _ROLES for role in roles):
        return folder + slash + stem, rest.lower()
    return name[: -len(last) - 1], last


def shown(key: bytes) -> str:
    """A key as text; bytes of it that are not UTF-8 as escapes."""
    return key.decode("utf-8", "backslashreplace")


def _ending(kind: bytes) -> str:
    return kind.rpartition(b".")[2].decode("utf-8", "replace")


def _add(group: _Group, kind: bytes, member: Member, location: str, skipped: Counter[str]) -> None:
    group.files += 1
    if kind in _LABELS:
        _once(group, kind, kind.decode(), member, location, _UNLIKE_WEBDATASET)
        group.labels[kind] = member.content if member.size <= _LABELS[kind] else b""
    elif _is_image(kind, member.content, skipped):
        role = kind.rpartition(b".")[0]
        slot = b"image of " + role if role else b"image"
        _once(group, slot, f"{shown(role)} image".strip(), member, location, _TWO_IMAGES)
        if role:
            group.others[role] = member
        else:
            group.image = member


def _once(group: _Group, slot: bytes, what: str, member: Member, location: str, remedy: str) -> None:
    if slot in group.kinds:
        raise DataError(f"{location}: key {shown(group.key)} has a second {what} at byte {member.start}; {remedy}")
    group.kinds.add(slot)


def _is_image(kind: bytes, start: bytes, skipped: Counter[str]) -> bool:
    """By its ending, or else by its first bytes; what looks like an image and cannot be read is counted."""
    ending = _ending(kind)
    if ending in image_endings():
        return True
    if ending in NOT_IMAGES:
        return False
    found = format_of_name(ending) or ending_of(start)
    if found and is_read(found):
        return True
    name = f".{ending} file" if ending else "file without an ending"
    skipped[f"{name} ({remedy(found)})" if found else name] += 1
    return False


def _finished(group: _Group, skipped: Counter[str]) -> Iterator[Sample]:
    """The group's sample, if it is one."""
    if not group.key:
        return
    image = group.image or next((group.others.pop(role) for role in _INPUTS if role in group.others), None)
    if image is None:
        skipped["file of a key without an image"] += group.files
        return
    if group.others:
        skipped["further image of a key (as " + shown(min(group.others)) + ")"] += len(group.others)
    if image.size > MAX_IMAGE:
        skipped[f"image of more than {MAX_IMAGE >> 20} MiB"] += 1
    else:
        yield Sample(group.key, image.offset, image.size, image.crc32, _label(group.labels, skipped))


def _label(found: dict[bytes, bytes], skipped: Counter[str]) -> int | str:
    """The class, or NO_LABEL; what looks like a label and is none is counted."""
    try:
        value = (
            _class(found[b"cls"].decode()) if b"cls" in found else _label_in(json.loads(found.get(b"json", b"null")))
        )
    except (ValueError, RecursionError):  # bytes that are not text included
        value = MAX_CLASSES if b"cls" in found else NO_LABEL
    if isinstance(value, str) or NO_LABEL <= value < MAX_CLASSES:
        return value
    skipped["label that is no class"] += 1
    return NO_LABEL


def _class(text: str) -> int | str:
    """What the text of a label means: a whole number or one line of a name; MAX_CLASSES for anything else."""
    text = text.strip()
    if not 0 < len(text) <= MAX_WORD:
        return MAX_CLASSES
    number = whole_number(text)
    if number is not None:
        return number if abs(number) <= MAX_CLASSES else MAX_CLASSES
    if _FRACTION.fullmatch(text) or text.lower() == "nan":
        return MAX_CLASSES
    return text if text.isprintable() else MAX_CLASSES


def _label_in(document: object) -> int | str:
    if isinstance(document, dict):
        for name in ("label", "cls"):
            value = document.get(name)
            if isinstance(value, (int, float)):
                return int(value) if float(value).is_integer() else MAX_CLASSES
            if isinstance(value, str):
                return _class(value)
    return NO_LABEL
