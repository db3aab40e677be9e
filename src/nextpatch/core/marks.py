"""Whether a file is one that nextpatch wrote: by the mark in it, which every format of ours that can carry one has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, BinaryIO

from nextpatch.core.files import DIGEST, digest_of_json

MARK = "nextpatch"  # the first key of an object of ours, and a key in the metadata of other formats
COMPRESSED = b"nextpatch compressed images\n"  # how a file of images that were compressed by a model begins
COMPRESSED = b"nextpatch compressed images\n"  # how a file of images that were compressed by a model begins
OURS = b"tEXtSoftware\0nextpatch"  # in the first bytes of a PNG of ours
_HEAD = 2**16
_LARGEST_JSON, _LARGEST_HEADER = 2**26, 2**27
_BAD = (OSError, ValueError, TypeError, KeyError, RecursionError, MemoryError, AttributeError)
_IN_HEAD = (  # how a file begins, and what is then in its first bytes
    (re.compile(rb"\x89PNG"), re.compile(OURS)),
    (re.compile(rb"\xff\xd8\xff"), re.compile(rb"\xff\xfe\0\x0bnextpatch")),  # its comment
    (
        re.compile(rb"\s*<!doctype html>"),
        re.compile(rb'<meta name="generator" content="nextpatch">|\xc2\xb7 nextpatch</title>'),
    ),
    (re.compile(rb"---\n"), re.compile(rb"\nlibrary_name: nextpatch\n")),  # a model card
    (re.compile(rb'\{\s*"nextpatch"\s*:'), re.compile(rb"")),  # lines of JSON
    (re.compile(re.escape(COMPRESSED)), re.compile(rb"")),
    (re.compile(re.escape(COMPRESSED)), re.compile(rb"")),
)
_IN_TAIL = (  # the same, and what is in its last bytes
    (re.compile(rb"RIFF....WEBP", re.DOTALL), re.compile(rb"EXIF.*nextpatch\0", re.DOTALL)),
    (re.compile(rb"PK"), re.compile(rb"nextpatch\.json")),  # a file in a graph of torch.export
    (re.compile(rb"\x08"), re.compile(rb"\x0a\x09nextpatch\x12")),  # a property of an ONNX model
)


def is_ours(path: Path) -> bool:
    """Whether nextpatch wrote the file, or nothing is in it that could be lost."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(0, path.stat().st_size - _HEAD))
            tail = file.read(_HEAD)
            if not head or any(kind.match(head) and mark.search(head) for kind, mark in _IN_HEAD):
                return True
            if any(kind.match(head) and mark.search(tail) for kind, mark in _IN_TAIL):
                return True
            if head[8:9] == b"{":
                return DIGEST in _safetensors(file)
        return _parquet(path) if head.startswith(b"PAR1") else head.lstrip().startswith(b"{") and _json(path)
    except _BAD:
        return False


def _safetensors(file: BinaryIO) -> Any:
    """The metadata in a header of safetensors."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(length))["__metadata__"] if length <= _LARGEST_HEADER else {}


def _parquet(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return MARK.encode() in (pq.read_metadata(path).metadata or {})
    except pa.ArrowException:
        return False


def _json(path: Path) -> bool:
    """Whether it is as `write_json` wrote it, by its digest: a name alone others use too."""
    if path.stat().st_size > _LARGEST_JSON:
        return False
    values = json.loads(path.read_bytes())
    return bool(values.pop(DIGEST) == digest_of_json(values))
