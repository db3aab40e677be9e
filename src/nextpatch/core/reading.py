"""Readers of JSON, TOML and Parquet metadata: whatever the bytes are, only one named error leaves them."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from nextpatch.core.errors import FileError, UserError
from nextpatch.core.files import DIGEST, digest_of_json
from nextpatch.core.text import shown

log = logging.getLogger(__name__)
_LARGEST = 512 * 2**20  # bytes of a text file: more would not be one that we, or a person, wrote
_BAD = (ValueError, OSError, RecursionError, MemoryError, TypeError, KeyError, AttributeError)


def read_json(path: Path, what: str, remedy: str, error: type[UserError] = FileError) -> dict[str, Any]:
    """The object in a JSON file; the digest of `write_json` is checked where there is one.

    `what` says what the file should be ("a plan of features"), `remedy` what to do when it is not. Raises `error`, with
    the file, the reason and the remedy, when the file is absent, damaged, too large or holds another kind of value.
    """
    values = parse_json(_text(path, what, remedy, error), path, what, remedy, error)
    if not isinstance(values, dict):
        _fail(path, what, remedy, error, f"it holds {type(values).__name__}, not an object")
    if DIGEST not in values and _nearly_digest(values):
        _fail(path, what, remedy, error, "the name of its digest is not the one that was written: it is damaged")
    if DIGEST in values:
        stated = values.pop(DIGEST)
        if _digest(values) != stated:
            _fail(path, what, remedy, error, "its values are not those that were written")
    return values


def parse_json(text: str | bytes, path: Path, what: str, remedy: str, error: type[UserError] = FileError) -> Any:
    """The value of JSON text that stands in the file `path`; raises `error`."""
    try:
        return json.loads(text)
    except _BAD as reason:
        _fail(path, what, remedy, error, _reason(reason))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every whole entry of a file of one JSON object a line; [] when there is no file.

    A last line torn by a kill is left out silently, other damaged lines are left out with one warning that counts them.
    FileError for what cannot be read, as a folder of that name.
    """
    if not os.path.lexists(path):
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as reason:
        _fail(path, "a list of JSON objects", "move it away", FileError, _reason(reason))
    entries = [_entry(line) for line in lines]
    if damaged := sum(entry is None for entry in entries[:-1]):
        log.warning("%s: %d damaged lines were passed over", shown(path), damaged)
    return [entry for entry in entries if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except _BAD:
        return None
    return value if isinstance(value, dict) else None


def read_toml(path: Path, what: str, remedy: str, error: type[UserError] = FileError) -> dict[str, Any]:
    """The values of a TOML file; raises `error` when it is absent, damaged, too large or is no TOML."""
    try:
        return tomllib.loads(_text(path, what, remedy, error))
    except _BAD as reason:
        if isinstance(reason, error):
            raise
        _fail(path, what, remedy, error, _reason(reason))


def parquet_facts(path: Path, key: str, what: str, remedy: str, error: type[UserError] = FileError) -> dict[str, Any]:
    """The JSON object under `key` in the metadata of a Parquet file; {} when the file has no such key."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (*_BAD, pa.ArrowException) as reason:
        _fail(path, what, remedy, error, _reason(reason))
    values = parse_json(metadata.get(key.encode(), b"{}"), path, what, remedy, error)
    if not isinstance(values, dict):
        _fail(path, what, remedy, error, f"its metadata {key} is no table")
    return values


def _text(path: Path, what: str, remedy: str, error: type[UserError]) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
        return data.decode("utf-8-sig")  # with a byte order mark, as editors on Windows write it, or without
    except FileNotFoundError:
        raise error(f"{shown(path)} does not exist; {remedy}") from None
    except _BAD as reason:
        _fail(path, what, remedy, error, _reason(reason))


def _nearly_digest(values: dict[str, Any]) -> bool:
    """Whether the last value, where `write_json` puts the digest, looks like one under a name that is nearly its."""
    key, value = next(reversed(values.items()), ("", None))
    near = sum(one != other for one, other in zip(key, DIGEST, strict=True)) <= 1 if len(key) == len(DIGEST) else False
    return near and isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _digest(values: dict[str, Any]) -> str:
    try:
        return digest_of_json(values)
    except _BAD:
        return ""


def _reason(reason: BaseException) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    if isinstance(reason, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(reason).split())[:200]
    return text or type(reason).__name__


def _fail(path: Path, what: str, remedy: str, error: type[UserError], reason: str) -> NoReturn:
    raise error(f"{shown(path)} cannot be read as {what} ({shown(reason)}); {remedy}") from None
