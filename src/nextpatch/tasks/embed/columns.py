"""A Parquet file of features with the digests of its columns, which are checked whenever it is read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextpatch.core.errors import FileError
from nextpatch.core.files import digest_of_json
from nextpatch.core.text import shown

BESIDE = ("path", "height", "width")  # columns that hold no features
_FACTS, _SKIPPED, _CONTENT = b"nextpatch", b"nextpatch.skipped", b"nextpatch.content"
_BAD = (OSError, ValueError, KeyError, TypeError, MemoryError, RecursionError, AttributeError)
_REMEDY = "remove it, and the same nextpatch embed makes it again"


class Digests:
    """SHA-256 of the values of each column, whatever pieces they come in."""

    def __init__(self) -> None:
        self._totals: dict[str, Any] = {}

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        for name in table.column_names:
            total = self._totals.setdefault(name, hashlib.sha256())
            for piece in table.column(name).chunks:
                total.update(_bytes_of(piece))

    def values(self) -> dict[str, str]:
        """In hexadecimal, by column."""
        return {name: total.hexdigest() for name, total in self._totals.items()}


def _bytes_of(piece: pa.Array) -> bytes:
    if pa.types.is_fixed_size_list(piece.type):
        flat: np.ndarray = piece.flatten().to_numpy(zero_copy_only=False)
        return flat.tobytes()
    return "".join(f"{json.dumps(value)}\n" for value in piece.to_pylist()).encode()


def metadata_of(facts: Mapping[str, Any], skipped: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What the metadata of a file says: how it was made, and what was left out."""
    return {_FACTS: json.dumps(facts).encode(), _SKIPPED: json.dumps(skipped).encode()}


def content_of(facts: Mapping[str, Any], skipped: Mapping[str, Any], columns: Mapping[str, str]) -> dict[bytes, bytes]:
    """The digests of these and of the columns, for the metadata too; known when all rows are written."""
    content = {"columns": dict(columns), "facts": digest_of_json(facts), "skipped": digest_of_json(skipped)}
    return {_CONTENT: json.dumps(content).encode()}


def facts_of(path: Path) -> dict[str, Any]:
    """What a file of features says about how they were made; {} where it says nothing. FileError when damaged."""
    return _read(path)[0]


def skipped_in(path: Path) -> dict[str, list[Any]]:
    """What its metadata says was left out: (kind, reason, source, position in the collection) by name."""
    return _read(path)[1]


def rows_in(path: Path) -> int:
    """How many images it holds."""
    with _named(path):
        return int(pq.read_metadata(path).num_rows)


def feature_columns(path: Path) -> list[str]:
    """The columns that hold features."""
    with _named(path):
        return [name for name in pq.read_schema(path).names if name not in BESIDE]


def tables_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Its rows, piece by piece; FileError, at the end, when these are not what was written."""
    stated = _read(path)[2].get("columns", {})
    found = Digests()
    with _named(path):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns)
            found.add(table)
            yield table
    for name, digest in found.values().items():
        if name in stated and stated[name] != digest:
            raise FileError(f"{shown(path)}: column {shown(name)} is not as it was written; {_REMEDY}")
    if lacking := [name for name in (columns or stated) if stated and name not in found.values()]:
        raise FileError(f"{shown(path)} lacks the column {shown(lacking[0])}; {_REMEDY}")


def is_sound(path: Path) -> bool:
    """Whether a file is there and all of it is as it was written."""
    try:
        return path.exists() and all(True for _ in tables_of(path))
    except FileError:
        return False


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the library become FileError with the file and the remedy."""
    try:
        yield
    except FileError:
        raise
    except (pa.ArrowException, *_BAD) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileError(f"{shown(path)} cannot be read as features ({shown(reason)}); {_REMEDY}") from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(facts, skipped, content), checked."""
    with _named(path):
        metadata = pq.read_metadata(path).metadata or {}
        facts, skipped, content = (json.loads(metadata.get(key, b"{}")) for key in (_FACTS, _SKIPPED, _CONTENT))
        if not all(isinstance(value, dict) for value in (facts, skipped, content)):
            raise ValueError("its metadata is no table")
        for name, value in (("facts", facts), ("skipped", skipped)):
            if content and content.get(name) != digest_of_json(value):
                raise ValueError(f"its {name} are not those that were written")
    return facts, skipped, content
