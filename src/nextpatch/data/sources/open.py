"""The right kind of source for what the user names."""

from __future__ import annotations

import re
from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.source import Source

_SPLIT = re.compile(r"train|test|val|dev|eval")  # how the Hub's file names begin


def open_source(spec: str) -> Source:
    """The images at a path: a folder of images (any nesting), a Parquet file, a folder of them, or a pattern of them.

    Raises DataError when there is nothing there or nothing in it, or when a folder mixes training and test files.
    """
    if not spec:
        raise DataError("no data given; name a folder of images or a .parquet file")
    path = Path(spec).expanduser()
    if path.is_dir():
        tables = sorted(path.glob("*.parquet"))
        return ParquetSource(_one_split(tables, path)) if tables else FolderSource(path)
    tables = [path] if path.exists() else sorted(path.parent.glob(path.name))
    if not tables:
        raise DataError(f"{path} does not exist; give a folder of images or a .parquet file")
    return ParquetSource(tables)


def _one_split(tables: list[Path], folder: Path) -> list[Path]:
    """The files, unless their names say that some are for testing: trained on, they would make every figure a lie."""
    splits = sorted({found[0] for table in tables if (found := _SPLIT.match(table.name.lower()))})
    if len(splits) > 1:
        raise DataError(
            f"{folder} holds several splits ({', '.join(splits)}); name one: '{folder / splits[-1]}*.parquet'"
        )
    return tables
