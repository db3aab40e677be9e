"""Parquet files in the Hub's image convention: `image` is a struct of bytes and path, `label` an integer."""

from __future__ import annotations

import bisect
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from nextpatch.core.text import shown
from nextpatch.core.threads import map_in_threads
from nextpatch.data.error import DataError
from nextpatch.data.sources.labels import NO_LABEL, Labels, by_names, labels_of
from nextpatch.data.sources.layout import role_of
from nextpatch.data.sources.parquet_file import (
    ParquetDamagedError,
    class_names_of,
    image_column,
    read_column,
    read_footer,
    row_groups_of,
)
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.cache import default_cache
from nextpatch.data.storage.url import is_remote

CACHE_BYTES = 128 * 2**20
MAX_FILE = 256 * 2**20
_THREADS = 16
T = TypeVar("T")


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
        metadata, self._sizes = zip(*self._of_each(read_footer), strict=True)
        schemas = [entry.schema.to_arrow_schema() for entry in metadata]
        self._refuse_splits(schemas)
        self._columns = [image_column(schema, file) for schema, file in zip(schemas, self._files, strict=True)]
        self._groups = [group for i, entry in enumerate(metadata) for group in row_groups_of(i, entry)]
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
            raise ParquetDamagedError(f"damaged Parquet data: {error}") from None
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
            raise OSError(f"the row names {shown(path)}, which is not a file of at most {MAX_FILE >> 20} MiB here")
        return file.read_bytes()

    def _images(self, number: int) -> Any:
        """The image column of a row group, from memory when it was used lately."""
        if number not in self._kept:
            group = self._groups[number]
            location = self._files[group.file]
            near = location if self.ranged and not default_cache().holds(location) else self._near(group.file)
            self._kept[number] = read_column(near, self._columns[group.file], [group.number])
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
        yield from map_in_threads(ask, self._files, _THREADS)

    def _refuse_splits(self, schemas: Sequence[Any]) -> None:
        """DataError when a column `split` holds several values: trained on, the rows for testing would be learned."""
        found: set[str] = set()
        for schema, file in zip(schemas, self._files, strict=True):
            if schema.names.count("split") == 1 and not pa.types.is_nested(schema.field("split").type):
                with contextlib.suppress(ParquetDamagedError, UnicodeDecodeError):  # what else is damaged is told later
                    found |= set(map(str, read_column(file, "split").unique().to_pylist()))
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
            columns, names = self._of_each(partial(read_column, column="label")), list(map(class_names_of, schemas))
            if len(set(names)) == 1:
                return labels_of(columns, "column 'label'", names[0])
            return labels_of(map(by_names, columns, names), "column 'label'")
        except (ParquetDamagedError, UnicodeDecodeError) as error:
            return none._replace(why_none=f"column 'label' cannot be read ({error})")
