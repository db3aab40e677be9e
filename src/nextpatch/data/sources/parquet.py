"""Parquet files in the Hub's image convention: `image` is a struct of bytes and path, `label` an integer."""

from __future__ import annotations

import bisect
import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextpatch.core.text import shown
from nextpatch.core.threads import side_by_side
from nextpatch.data.error import DataError
from nextpatch.data.sources.labels import NO_LABEL, Labels, by_names, labels_of
from nextpatch.data.sources.layout import role_of
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.cache import default_cache
from nextpatch.data.storage.ranges import open_ranges
from nextpatch.data.storage.url import is_remote

CACHE_BYTES = 128 * 2**20
_OURS = b"nextpatch"  # in the metadata of a file of features
MAX_FILE = 256 * 2**20
_THREADS = 16
T = TypeVar("T")


class _RowGroup(NamedTuple):
    file: int
    number: int  # within the file
    first_row: int  # within the file
    rows: int


class ParquetSource:
    """Rows of one or more files, in order, read lazily one row group at a time.

    Images are the column `image`, or else the only column that holds bytes (plain, or a struct with a field `bytes`).
    A row of a local table may name a file in place of bytes. Labels are the column `label`, whole numbers or names;
    class names come from the Hub's metadata, from the names that occur, or are the numbers. Recently used row groups
    stay in memory, up to `CACHE_BYTES`: small files wholly, so random access to files with
    large row groups reads much more than it shows. Of remote files the footers and labels are read where they are, and
    the rows from a copy in the cache; with `ranged` set, row groups where they are, too.
    """

    def __init__(self, files: Sequence[str | Path]) -> None:
        self._files = [str(file) for file in files]
        self.name = self._files[0] if len(files) == 1 else self._files[0].rpartition("/")[0]
        self.remote = any(map(is_remote, self._files))
        metadata, self._sizes = zip(*self._of_each(_footer), strict=True)
        schemas = [entry.schema.to_arrow_schema() for entry in metadata]
        self._refuse_splits(schemas)
        self._columns = [_image_column(schema, file) for schema, file in zip(schemas, self._files, strict=True)]
        self._groups = [group for i, entry in enumerate(metadata) for group in _row_groups(i, entry)]
        self._ends = np.cumsum([group.rows for group in self._groups]).tolist()
        if not self._ends or not 0 < self._ends[-1] < 2**62:
            raise DataError(f"{self.name} has no rows; give files that hold images")
        self._shards = [group for group in self._groups if group.rows]
        self.shard_sizes = np.array([group.rows for group in self._shards])
        sizes = [entry.row_group(i).total_byte_size for entry in metadata for i in range(entry.num_row_groups)]
        self.random_access = sum(sizes) <= CACHE_BYTES and not self.remote
        self.ranged = False
        self.digest = digest_of(f"{Path(self._files[g.file]).name} {g.number} {g.rows}" for g in self._groups)
        self._labels, self.classes, self.why_unlabeled = self._read_labels(schemas)
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process needs: everything but the row groups in memory."""
        return self.__dict__ | {"_kept": OrderedDict()}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int) -> bytes:
        """The image's bytes, empty when the row has none; OSError when the row group is damaged."""
        group, row = self._locate(index)
        try:
            value = self._images(group)[row].as_py()
        except UnicodeDecodeError as error:  # in the path beside the bytes
            raise _DamagedError(f"damaged Parquet data: {error}") from None
        if not isinstance(value, dict):
            return value or b""
        return value["bytes"] or self._file_named(group, value.get("path"))

    def key(self, index: int) -> str:
        """File and row within it."""
        number, row = self._locate(index)
        group = self._groups[number]
        return f"{self._files[group.file]}#{group.first_row + row}"

    def label(self, index: int) -> int | None:
        """The row's class; None when it has none."""
        if not self.classes or self._labels[index] == NO_LABEL:
            return None
        return int(self._labels[index])

    def files(self) -> list[Path]:
        """The local files that the samples lie in; none when they lie elsewhere."""
        return [] if self.remote else [Path(file) for file in self._files]

    def prefetch(self, shard: int) -> None:
        """Bring the file of a row group into the cache, when it is remote."""
        self._near(self._shards[shard].file)

    def _locate(self, index: int) -> tuple[int, int]:
        """(row group, row within it)."""
        group = bisect.bisect_right(self._ends, index)
        return group, index - (self._ends[group - 1] if group else 0)

    def _file_named(self, number: int, path: object) -> bytes:
        """The image file that a row of a local table names in place of bytes; nothing where it names none."""
        if self.remote or not isinstance(path, str) or not path:
            return b""
        file = Path(self._files[self._groups[number].file]).parent / path
        if not file.is_file() or file.stat().st_size > MAX_FILE:
            raise OSError(f"the row names {shown(path)}, which is no file of at most {MAX_FILE >> 20} MiB here")
        return file.read_bytes()

    def _images(self, number: int) -> Any:
        """The image column of a row group, from memory when it was used lately."""
        if number not in self._kept:
            group = self._groups[number]
            place = self._files[group.file]
            near = place if self.ranged and not default_cache().holds(place) else self._near(group.file)
            self._kept[number] = _read(near, self._columns[group.file], [group.number])
            while len(self._kept) > 1 and sum(column.nbytes for column in self._kept.values()) > CACHE_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _near(self, file: int) -> str:
        """The copy of a file in the cache, made if it is not there or has another length; local files as they are."""
        return str(default_cache().local(self._files[file], self._sizes[file]))

    def _of_each(self, ask: Callable[[str], T]) -> Iterator[T]:
        """What `ask` returns for every file; remote ones are asked side by side."""
        if not self.remote:
            yield from map(ask, self._files)
            return
        yield from side_by_side(ask, self._files, _THREADS)

    def _refuse_splits(self, schemas: Sequence[Any]) -> None:
        """DataError when a column `split` holds several values: trained on, the rows for testing would be learned."""
        found: set[str] = set()
        for schema, file in zip(schemas, self._files, strict=True):
            if schema.names.count("split") == 1 and not pa.types.is_nested(schema.field("split").type):
                with contextlib.suppress(_DamagedError, UnicodeDecodeError):  # what else is damaged is told later
                    found |= set(map(str, _read(file, "split").unique().to_pylist()))
        if len({role[0] for name in found if (role := role_of(name))}) > 1:
            names = ", ".join(map(shown, sorted(found)[:10]))
            raise DataError(
                f"{shown(self.name)} holds several splits in its column 'split' ({names}); write the rows of each to a "
                "file of its own, and name one"
            )

    def _read_labels(self, schemas: list[Any]) -> Labels:
        """The class of every row and the names of the classes; or why there are none: that never keeps a file away."""
        none = Labels(np.empty(0, np.int32), (), "")
        for schema, file in zip(schemas, self._files, strict=True):
            if "label" not in schema.names:
                return none._replace(why_none=f"{file} has no column 'label' (it has {', '.join(schema.names)})")
            if schema.names.count("label") > 1:
                return none._replace(why_none=f"{file} has several columns 'label'")
            if pa.types.is_nested(kind := schema.field("label").type):
                return none._replace(why_none=f"column 'label' is of the type {kind}; give a whole number or a name")
        try:
            columns, names = self._of_each(partial(_read, column="label")), list(map(_class_names, schemas))
            if len(set(names)) == 1:
                return labels_of(columns, "column 'label'", names[0])
            return labels_of(map(by_names, columns, names), "column 'label'")
        except (_DamagedError, UnicodeDecodeError) as error:
            return none._replace(why_none=f"column 'label' cannot be read ({error})")


class _DamagedError(OSError):
    """The bytes are not what Parquet says they are."""


def _footer(file: str) -> tuple[Any, int | None]:
    """(what the end of a file says of it, the length of a remote file)."""
    try:
        with open_ranges(file) as opened:
            found = pq.read_metadata(opened)
            if any(found.row_group(number).num_rows < 0 for number in range(found.num_row_groups)):
                raise _DamagedError("a row group has fewer than no rows")
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
    if _OURS in (schema.metadata or {}):
        return "features that nextpatch wrote"
    return "" if image_columns(schema) or "image" in schema.names else "a table without images"


def image_columns(schema: Any) -> list[str]:
    """The columns that can hold encoded images."""
    return [field.name for field in schema if _holds_images(field.type)]


def _image_column(schema: Any, file: str) -> str:
    found = image_columns(schema)
    twice = "image" in schema.names and schema.names.count("image") > 1
    if twice or ("image" not in found and len(found) != 1):
        columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
        advice = "rename the column that is not meant" if twice else "rename the column"
        if schema.names.count("image") == 1 and pa.types.is_string(schema.field("image").type):
            advice = "text is no image: if it is paths of files, give them as CSV with the columns path,label"
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


def _row_groups(file: int, metadata: Any) -> list[_RowGroup]:
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    firsts = np.cumsum([0, *rows]).tolist()
    return [_RowGroup(file, number, firsts[number], count) for number, count in enumerate(rows)]


def _read(file: str, column: str, groups: list[int] | None = None) -> Any:
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
                raise _DamagedError(f"damaged Parquet data: {len(found):,} values of {column} in {rows:,} rows")
            found.validate()
            return found
    except _DamagedError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and (error.errno is not None or is_remote(file)):
            raise  # the disk's or the network's, not what Arrow says of a page
        raise _DamagedError(f"damaged or unusual Parquet data: {str(error).splitlines()[0]}") from None


def _class_names(schema: Any) -> tuple[str, ...]:
    """Names from the Hub's metadata; none where it has none."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
