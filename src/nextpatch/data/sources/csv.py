"""A list of image files with their labels, as CSV: `path,label`, one image a line."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nextpatch.core.text import shown, whole_number
from nextpatch.data.error import DataError
from nextpatch.data.sources.labels import NO_LABEL, labels_of
from nextpatch.data.sources.layout import role_of
from nextpatch.data.sources.table import TableSource
from nextpatch.data.storage.url import local_path

log = logging.getLogger(__name__)

PATHS = ("path", "file_name", "filename", "file", "image", "image_path", "filepath", "image_id", "id")
LABELS = ("label", "class", "category", "target", "class_name", "species", "y")
SPLITS = ("split", "subset", "partition", "set", "phase")
MOST_BYTES = 2**31
_MOST_FIELD = 2**16


class _Row(NamedTuple):
    file: str
    label: str
    split: str
    line: int


def open_csv(path: Path, split: str = "") -> TableSource:
    """The files that a CSV list names, relative to its folder, with their labels: numbers or names.

    The first line names the columns: one of PATHS, one of LABELS, and it may be one of SPLITS, of which `split` chooses
    a value. A line without a label is an unlabeled image. A name without an ending is that of the .jpg or .png file
    there. An image that is listed again counts once. DataError, with the line, for what cannot be used, and where a
    list holds several splits of which none is chosen.
    """
    rows = _of_split(list(_rows(path)), path, split)
    if not rows:
        raise DataError(f"{shown(path)} lists no images; give a line for each, as 'cat/1.jpg,cat'")
    labels, twice = _once(rows)
    files = _as_they_are_there(path.parent, list(labels))
    missing = [file for file in (files[0], files[-1]) if not (path.parent / file).is_file()]
    if missing:
        raise DataError(
            f"{shown(path)} names {shown(missing[0])}, which is no file in {shown(path.parent)}; paths are relative to "
            "the list's own folder"
        )
    if len(files) < len(rows):
        log.warning("%s: %s lines name an image of another line; each counts once", shown(path), len(rows) - len(files))
    numbers, classes, why = labels_of([_typed(list(labels.values()))], "column 'label'")
    if twice:
        numbers, classes, why = np.full(len(files), NO_LABEL, np.int32), (), twice
    source = TableSource(str(path / split) if split else str(path), path.parent, files, numbers, classes)
    source.why_unlabeled = why or "its column of labels is empty"
    return source


def split_of_list(place: str) -> tuple[Path, str] | None:
    """(list, split) of a place like `photos/list.csv/train`; None for any other."""
    path = local_path(place)
    is_list = path.parent.suffix.lower() in (".csv", ".tsv") and path.parent.is_file()
    return (path.parent, path.name) if is_list else None


def _of_split(rows: Sequence[_Row], path: Path, split: str) -> Sequence[_Row]:
    """The rows of a split; all where there is but one and none is chosen."""
    there = sorted({row.split for row in rows})
    if split and split not in there:
        names = ", ".join(map(shown, there)) if there != [""] else f"no column {SPLITS[0]!r}"
        raise DataError(f"{shown(path)} has no split {shown(split)}; there are {names}")
    if split or len(there) < 2:
        return [row for row in rows if not split or row.split == split]
    roles = {role[0]: name for name in there if (role := role_of(name))}
    named = [name for name in there if name]
    learned = roles.get("train", named[0])
    tested = roles.get("test") or roles.get("val") or next((name for name in named if name != learned), "")
    raise DataError(
        f"{shown(path)} holds several splits ({', '.join(shown(name) or 'none' for name in there[:10])}); name one: "
        f"--data {shown(path)}/{shown(learned)}" + f" --test {shown(path)}/{shown(tested)}" * bool(tested)
    )


def _once(rows: Sequence[_Row]) -> tuple[dict[str, str | None], str]:
    """(the label of each image, in the order of their first lines; of one that has two classes, which)."""
    labels: dict[str, str | None] = {}
    first: dict[str, int] = {}
    twice = ""
    for row in rows:
        if row.file in labels and labels[row.file] != (row.label or None):
            twice = twice or f"line {row.line} gives {shown(row.file)} another class than line {first[row.file]}"
        labels.setdefault(row.file, row.label or None)
        first.setdefault(row.file, row.line)
    return labels, twice


def _rows(path: Path) -> Iterator[_Row]:
    """Each line that is not empty."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{shown(path)} has more than {MOST_BYTES >> 30} GiB; pack the images into shards instead")
    begun = 1
    csv.field_size_limit(_MOST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(_MOST_FIELD)
            separator = max(",;\t", key=first.count)
            header = [name.strip().lower() for name in next(csv.reader(io.StringIO(first), delimiter=separator), [])]
            at, label = _column(header, PATHS, path), _column(header, LABELS, path)
            split = next((header.index(name) for name in SPLITS if name in header), len(header))
            reader = csv.reader(file, delimiter=separator, strict=True)
            begun = 2
            for row in reader:
                if any(map(str.strip, row)):
                    yield _row([row[i].strip() if i < len(row) else "" for i in (at, label, split)], begun)
                begun = reader.line_num + 2
    except UnicodeDecodeError:
        raise DataError(f"{shown(path)} is not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{shown(path)} cannot be read at line {begun} ({error}); mend the line") from None


def _row(values: Sequence[str], line: int) -> _Row:
    file, label, split = values
    if not file:
        raise csv.Error("no path in it")
    if any(mark in text for text in values for mark in "\r\n"):
        raise csv.Error("a quote that it opens is closed in a later line only")
    return _Row(file, label, split, line)


def _column(header: Sequence[str], known: Sequence[str], path: Path) -> int:
    found = next((header.index(name) for name in known if name in header), None)
    if found is None:
        raise DataError(
            f"{shown(path)} has no column '{known[0]}' (its first line is {shown(','.join(header))[:200]}); name the "
            "columns in the first line: path,label"
        )
    return found


def _as_they_are_there(folder: Path, files: list[str]) -> list[str]:
    """The files; where the first is not there as it is named, all get the ending, or Windows' slashes, that it has."""
    if not (folder / files[0]).is_file() and "\\" in files[0]:
        files = [file.replace("\\", "/") for file in files]
    if (folder / files[0]).is_file():
        return files
    ending = next((end for end in (".jpg", ".png", ".jpeg", ".tif") if (folder / (files[0] + end)).is_file()), "")
    return [file + ending for file in files]


def _typed(labels: Sequence[str | None]) -> pa.Array:
    """Whole numbers where all labels are such, else text."""
    numbers = [None if label is None else whole_number(label) for label in labels]
    plain = all(label is None or number is not None for label, number in zip(labels, numbers, strict=True))
    return pa.array(numbers, pa.int64()) if plain else pa.array(labels, pa.string())
