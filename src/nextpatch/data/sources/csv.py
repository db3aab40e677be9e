"""A list of image files with their labels, as CSV: `path,label`, one image a line."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nextpatch.core.text import shown, whole_number
from nextpatch.data.error import DataError
from nextpatch.data.formats import image_endings
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
    there. An image that is listed again counts once, however its path is written. DataError, with the line, for what
    cannot be used, and where a list holds several splits of which none is chosen.
    """
    rows = _of_split(list(_rows(path)), path, split)
    if not rows:
        raise DataError(f"{shown(path)} lists no images; give a line for each, as 'cat/1.jpg,cat'")
    there = list(_as_they_are_there(path.parent, [row.file for row in rows]))
    for row, file in ((rows[0], there[0]), (rows[-1], there[-1])):
        if not _is_file(path.parent, file):
            raise DataError(
                f"{shown(path)} names {shown(row.file)[:300]}, which does not exist in {shown(path.parent)}; paths are "
                "relative to the list's own folder"
            )
    labels, twice = _once(rows, there, path.parent)
    files = list(labels)
    if len(files) < len(rows):
        log.warning("%s: %s lines name an image of another line; each counts once", shown(path), len(rows) - len(files))
    numbers, classes, why = labels_of([_typed(list(labels.values()))], "column 'label'")
    if twice:
        numbers, classes, why = np.full(len(files), NO_LABEL, np.int32), (), twice
    source = TableSource(str(path / split) if split else str(path), path.parent, files, numbers, classes)
    source.why_unlabeled = why or "its column of labels is empty"
    return source


def split_of_list(location: str) -> tuple[Path, str] | None:
    """(list, split) of a place like `photos/list.csv/train`; None for any other."""
    path = local_path(location)
    is_list = path.parent.suffix.lower() in (".csv", ".tsv") and path.parent.is_file()
    return (path.parent, path.name) if is_list else None


def _of_split(rows: Sequence[_Row], path: Path, split: str) -> Sequence[_Row]:
    """The rows of a split; all where there is but one and none is chosen."""
    there = sorted({row.split.casefold(): row.split for row in rows}.values())
    if split and split.casefold() not in (name.casefold() for name in there):
        names = ", ".join(map(shown, there)) if there != [""] else f"no column {SPLITS[0]!r}"
        raise DataError(f"{shown(path)} has no split {shown(split)}; there are {names}")
    if split or len(there) < 2:
        return [row for row in rows if not split or row.split.casefold() == split.casefold()]
    roles = {role[0]: name for name in there if (role := role_of(name))}
    named = [name for name in there if name]
    learned = roles.get("train", named[0])
    tested = roles.get("test") or roles.get("val") or next((name for name in named if name != learned), "")
    raise DataError(
        f"{shown(path)} holds several splits ({', '.join(shown(name) or 'none' for name in there[:10])}); name one: "
        f"--data {shown(path)}/{shown(learned)}" + f" --test {shown(path)}/{shown(tested)}" * bool(tested)
    )


def _once(rows: Sequence[_Row], files: Sequence[str], folder: Path) -> tuple[dict[str, str | None], str]:
    """(the label of each image, in the order of their first lines; of one that has two classes, which)."""
    labels: dict[str, str | None] = {}
    first: dict[str, tuple[str, int]] = {}  # a path without detours -> as it is written first, and where
    twice = ""
    for row, written in zip(rows, files, strict=True):
        file, line = first.setdefault(os.path.normpath(os.path.join(folder, written)), (written, row.line))  # noqa: PTH118
        if labels.setdefault(file, row.label or None) != (row.label or None):
            twice = twice or f"line {row.line} gives {shown(file)} another class than line {line}"
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
            header = [name.strip().lower() for name in next(_reader(io.StringIO(first), separator), [])]
            at, label = _column(header, PATHS, path), _column(header, LABELS, path)
            split = next((header.index(name) for name in SPLITS if name in header), len(header))
            reader = _reader(file, separator)
            begun = 2
            for row in reader:
                if any(map(str.strip, row[len(header) :])):
                    raise csv.Error(
                        f"it has {len(row)} values, but the first line names {len(header)} columns; quote a value that "
                        f"holds {separator!r}"
                    )
                if any(map(str.strip, row)):
                    yield _row([row[i].strip() if i < len(row) else "" for i in (at, label, split)], begun)
                begun = reader.line_num + 2
    except UnicodeDecodeError:
        raise DataError(f"{shown(path)} is not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{shown(path)} cannot be read at line {begun} ({error}); correct the line") from None


def _reader(lines: Iterable[str], separator: str) -> Any:
    return csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)


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


def _as_they_are_there(folder: Path, files: Sequence[str]) -> Iterator[str]:
    """The files; one that is not there as it is named with the ending, or without Windows' slashes, that it has."""
    endings, known = [".jpg", ".png", ".jpeg", ".tif"], image_endings()
    for file in files:
        found = file
        if "\\" in file and not _is_file(folder, file):
            found = file.replace("\\", "/")
        if found.rpartition(".")[2].lower() not in known and not _is_file(folder, found):
            ending = next((end for end in endings if _is_file(folder, found + end)), "")
            endings.sort(key=lambda end: end != ending)  # that of most others is tried first
            found += ending
        yield found


def _is_file(folder: Path, file: str) -> bool:
    return os.path.isfile(os.path.join(folder, file))  # noqa: PTH113, PTH118 - false for a name that no file can have


def _typed(labels: Sequence[str | None]) -> pa.Array:
    """Whole numbers where all labels are such, else text."""
    numbers = [None if label is None else whole_number(label) for label in labels]
    plain = all(label is None or number is not None for label, number in zip(labels, numbers, strict=True))
    return pa.array(numbers, pa.int64()) if plain else pa.array(labels, pa.string())
