"""What Parquet files hold: footers, row groups, which column holds images, and one column read without threads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextpatch.core.marks import MARK
from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.storage.ranges import open_ranges
from nextpatch.data.storage.url import is_remote


class RowGroup(NamedTuple):
    """A row group: rows of a file that are stored, and read, together."""

    file: int
    number: int  # within the file
    first_row: int  # within the file
    rows: int


class ParquetDamagedError(OSError):
    """The bytes are not what Parquet says they are."""


def read_footer(file: str) -> tuple[Any, int | None]:
    """(what the end of a file says of it, the length of a remote file)."""
    try:
        with open_ranges(file) as opened:
            found = pq.read_metadata(opened)
            if any(found.row_group(number).num_rows < 0 for number in range(found.num_row_groups)):
                raise ParquetDamagedError("a row group has fewer than no rows")
            found.schema.to_arrow_schema()  # names that are no text, and types that Arrow lacks, are told here
            return found, getattr(opened, "size", None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = shown(" ".join(str(error).split())[:200])
        raise DataError(
            f"{shown(file)} is not a readable Parquet file ({reason}); give a .parquet file or a folder of images"
        ) from None


def what_table(path: Path) -> str:
    """What a Parquet file without images is, in words; empty for one that holds images, or cannot be read."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError):
        return ""  # opening it as images says what is wrong
    if MARK.encode() in (schema.metadata or {}):
        return "features that nextpatch wrote"
    return "" if image_columns(schema) or "image" in schema.names else "a table without images"


def image_columns(schema: Any) -> list[str]:
    """The columns that can hold encoded images."""
    return [field.name for field in schema if _holds_images(field.type)]


def image_column(schema: Any, file: str) -> str:
    found = image_columns(schema)
    twice = "image" in schema.names and schema.names.count("image") > 1
    if twice or ("image" not in found and len(found) != 1):
        columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
        advice = "rename the column that is not meant" if twice else "rename the column"
        if schema.names.count("image") == 1 and pa.types.is_string(schema.field("image").type):
            advice = "text is not an image: if it holds paths of files, give them as CSV with the columns path,label"
        raise DataError(
            f"{shown(file)} has no column 'image' that holds encoded images (it has {shown(columns)[:500]}); {advice}"
        )
    return "image" if "image" in found else str(found[0])


def _holds_images(kind: Any) -> bool:
    """Whether a column of this type can hold encoded images: bytes, or a struct with a field `bytes`."""
    types = pa.types
    if types.is_struct(kind):
        inner = kind.get_field_index("bytes")
        return inner >= 0 and _holds_images(kind.field(inner).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def row_groups_of(file: int, metadata: Any) -> list[RowGroup]:
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    firsts = np.cumsum([0, *rows]).tolist()
    return [RowGroup(file, number, firsts[number], count) for number, count in enumerate(rows)]


def read_column(file: str, column: str, groups: list[int] | None = None) -> Any:
    """One column of the row groups (all by default) as one array, without threads.

    They do not survive a fork; and those that Arrow reads ahead with abort a process that ends while they still hold
    what they have read.
    """
    try:
        with open_ranges(file) as stream, pq.ParquetFile(stream, pre_buffer=False) as opened:
            wanted = range(opened.metadata.num_row_groups) if groups is None else groups
            found = opened.read_row_groups(wanted, columns=[column], use_threads=False)[column].combine_chunks()
            rows = sum(opened.metadata.row_group(number).num_rows for number in wanted)
            if len(found) != rows:
                raise ParquetDamagedError(f"damaged Parquet data: {len(found):,} values of {column} in {rows:,} rows")
            found.validate()
            return found
    except ParquetDamagedError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and (error.errno is not None or is_remote(file)):
            raise  # the disk's or the network's, not what Arrow says of a page
        raise ParquetDamagedError(f"damaged or unusual Parquet data: {str(error).splitlines()[0]}") from None


def class_names_of(schema: Any) -> tuple[str, ...]:
    """Names from the Hub's metadata; none where it has none."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
