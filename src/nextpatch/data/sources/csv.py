"""A list of image files with their labels, as CSV: `path,label`, one image a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from nextpatch.core.text import shown, whole_number
from nextpatch.data.error import DataError
from nextpatch.data.sources.labels import labels_of
from nextpatch.data.sources.table import TableSource

PATHS = ("path", "file_name", "filename", "file", "image", "image_path", "filepath", "image_id", "id")
LABELS = ("label", "class", "category", "target", "class_name", "species", "y")
MOST_BYTES = 2**31
_MOST_FIELD = 2**16


def open_csv(path: Path) -> TableSource:
    """The files that a CSV list names, relative to its folder, with their labels: numbers or names.

    The first line names the columns: one of PATHS, one of LABELS. A line without a label is an unlabeled image. A name
    without an ending is that of the .jpg or .png file there. DataError, with the line, for what cannot be used.
    """
    files: list[str] = []
    labels: list[str | None] = []
    for file, label in _rows(path):
        files.append(file)
        labels.append(label or None)
    if not files:
        raise DataError(f"{shown(path)} lists no images; give a line for each, as 'cat/1.jpg,cat'")
    files = _with_endings(path.parent, files)
    missing = [file for file in (files[0], files[-1]) if not (path.parent / file).is_file()]
    if missing:
        raise DataError(
            f"{shown(path)} names {shown(missing[0])}, which is no file in {shown(path.parent)}; paths are relative to "
            "the list's own folder"
        )
    numbers, classes, why = labels_of([_typed(labels)], "column 'label'")
    source = TableSource(str(path), path.parent, files, numbers, classes)
    source.why_unlabeled = why or "its column of labels is empty"
    return source


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(file, label) of each line."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{shown(path)} has more than {MOST_BYTES >> 30} GiB; pack the images into shards instead")
    number = 1
    csv.field_size_limit(_MOST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(_MOST_FIELD)
            separator = max(",;\t", key=first.count)
            header = [name.strip().lower() for name in next(csv.reader(io.StringIO(first), delimiter=separator), [])]
            at, label = _column(header, PATHS, path), _column(header, LABELS, path)
            for number, row in enumerate(csv.reader(file, delimiter=separator), 2):  # noqa: B007 - for the error
                if row:
                    yield row[at].strip(), row[label].strip() if label < len(row) else ""
    except UnicodeDecodeError:
        raise DataError(f"{shown(path)} is not UTF-8 text; save it as CSV in UTF-8") from None
    except (csv.Error, IndexError) as error:
        raise DataError(f"{shown(path)} cannot be read at line {number} ({error}); mend the line") from None


def _column(header: Sequence[str], known: Sequence[str], path: Path) -> int:
    found = next((header.index(name) for name in known if name in header), None)
    if found is None:
        raise DataError(
            f"{shown(path)} has no column '{known[0]}' (its first line is {shown(','.join(header))[:200]}); name the "
            "columns in the first line: path,label"
        )
    return found


def _with_endings(folder: Path, files: list[str]) -> list[str]:
    """The files; where the first is named without its ending, all get the one that it has there."""
    if (folder / files[0]).is_file():
        return files
    ending = next((end for end in (".jpg", ".png", ".jpeg", ".tif") if (folder / (files[0] + end)).is_file()), "")
    return [file + ending for file in files]


def _typed(labels: Sequence[str | None]) -> pa.Array:
    """Whole numbers where all labels are such, else text."""
    numbers = [None if label is None else whole_number(label) for label in labels]
    plain = all(label is None or number is not None for label, number in zip(labels, numbers, strict=True))
    return pa.array(numbers, pa.int64()) if plain else pa.array(labels, pa.string())
