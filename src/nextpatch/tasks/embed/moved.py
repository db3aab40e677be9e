"""Finished shards whose images were touched or moved: kept if the images are the same, with their new names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nextpatch.core.errors import FileError
from nextpatch.core.text import escape_for_utf8, shown
from nextpatch.data.fingerprint import digest_of_images
from nextpatch.data.skipped import Skipped
from nextpatch.data.sources.source import Source
from nextpatch.tasks.embed.columns import facts_of, rows_in, skipped_in, tables_of
from nextpatch.tasks.embed.shard import write_table

log = logging.getLogger(__name__)
Shards = Mapping[Path, Sequence[int]]  # the finished ones, and which images are theirs


def digest_path(path: Path) -> Path:
    """Where the digest of the images of a shard is kept, beside it."""
    return path.with_name(f".{path.name}.sha256")


def forget_changed(shards: Shards, source: Source) -> None:
    """Take away those whose images are no longer those that they were made of, byte for byte."""
    log.info("%s: files were touched or moved; their contents are compared", shown(source.name))
    for path, indices in shards.items():
        seen = digest_path(path)
        if not seen.exists() or seen.read_bytes() != digest_of_images(source, indices).encode():
            log.warning("%s is made again: its images have changed, or cannot be compared", shown(path))
            path.unlink()


def rename_samples(shards: Shards, source: Source, facts: Mapping[str, Any]) -> None:
    """Give the rows of those that were made of the same images in another place, or seen from another folder, the names
    that these have now.

    One of another place that does not say which of its images were left out is taken away, to be made again.
    """
    for path, indices in shards.items():
        try:
            there, lost = _positions(path, indices)
            moved = facts_of(path).get("data") != facts["data"]
            if there is not None:
                _name_rows(path, there, lost, moved, source, facts)
            elif moved:
                log.warning("%s is made again: it does not tell which images its rows are", shown(path))
                path.unlink()
        except FileError:
            continue  # one that is not as it was written is made again in any case


def _positions(path: Path, indices: Sequence[int]) -> tuple[list[int] | None, dict[int, Skipped]]:
    """Which images the rows are, None where that is not said; and what was left out, by its position."""
    entries = list(skipped_in(path).values())
    lost = {position: Skipped(*entry) for *entry, position in entries if isinstance(position, int)}
    there = [index for index in indices if index not in lost]
    return there if len(lost) == len(entries) and len(there) == rows_in(path) else None, lost


def _name_rows(
    path: Path, there: list[int], lost: dict[int, Skipped], moved: bool, source: Source, facts: Mapping[str, Any]
) -> None:
    names = [escape_for_utf8(source.key(index)) for index in there]
    if not moved and names == [name for table in tables_of(path, ["path"]) for name in table.column(0).to_pylist()]:
        return
    tables = list(tables_of(path))
    if there:
        whole = pa.concat_tables(tables)
        tables = [whole.set_column(whole.schema.get_field_index("path"), "path", pa.array(names, pa.string()))]
    bad = {source.key(position): entry._replace(source=source.name) for position, entry in lost.items()}
    write_table(path, tables, facts, bad, {source.key(position): position for position in lost})
