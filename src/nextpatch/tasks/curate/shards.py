"""The tar shards that a text names, for what works on the shards themselves."""

from __future__ import annotations

from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry, expand, is_remote, listing


def shards_of(spec: str) -> list[Entry]:
    """One shard, a pattern of them, or those of a folder, near or far. DataError when there are none."""
    if spec.endswith(".tar"):
        entries = expand(spec)
    elif is_remote(spec) or Path(spec).expanduser().is_dir():
        entries = [entry for entry in listing(spec) if entry.location.endswith(".tar") and "/." not in entry.location]
    else:
        entries = expand(spec)
    if not entries or not all(entry.location.endswith(".tar") for entry in entries):
        raise DataError(f"{spec} names no tar shards; give a folder of them, or a pattern such as 'dfn/{{00..19}}.tar'")
    return entries
