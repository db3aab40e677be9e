"""The class of every row of several tables, from columns of numbers or of names, in four bytes a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32

from nextpatch.data.sources.layout import class_name

NO_LABEL = -1  # the Hub's own sign for "not labeled"
MAX_CLASSES = 1_000_000
_NONE = np.empty(0, np.int32)
_GAPS = 1000  # so many numbers of no image beside those that occur are taken for classes of which there are none here


class Labels(NamedTuple):
    """The class of every row and the names of the classes; or no names, and why."""

    labels: Int32[np.ndarray, " rows"]
    classes: tuple[str, ...]
    why_none: str


def labels_of(columns: Iterable[Any], what: str, names: Sequence[str] = ()) -> Labels:
    """Labels from columns of any type; `what` names the column in the reason where they are none.

    Whole numbers, booleans too, are class numbers, of which `names` are the names where there are enough. Text, also as
    categories, is class names. Empty values, texts of nothing but spaces, NaN and numbers below 0 are no labels.
    """
    rows, highest, numbers, texts = 0, NO_LABEL, [], []
    for column in columns:
        part, why = plain(column)
        if part is None:
            return Labels(_NONE, (), f"{what} {why}")
        rows += len(part)
        if pa.types.is_integer(part.type):
            labels, top = numbered([part])
            numbers.append(labels)
            highest = max(highest, top)
        else:
            texts.append(part.dictionary_encode())
    if not rows or (highest < 0 and not any(len(part.dictionary) for part in texts)):
        return Labels(_NONE, (), f"{what} is empty in every row")
    if numbers and texts:
        return Labels(_NONE, (), f"{what} holds numbers in some files and names in others")
    if texts:
        return Labels(*named(texts), "")
    if highest >= MAX_CLASSES:
        return Labels(_NONE, (), f"{what} holds numbers up to {highest}, which are not class numbers")
    return Labels(*_compact(np.concatenate(numbers), highest, names), "")


def by_names(column: Any, names: Sequence[str]) -> Any:
    """Numbers replaced by the names that they have in their own file; any other column, and without names, as it is."""
    part = plain(column)[0]
    if part is None or not names or not pa.types.is_integer(part.type):
        return column
    numbers = part.to_pylist()
    known = len(names)
    return pa.array([None if n is None or n < 0 else names[n] if n < known else str(n) for n in numbers], pa.string())


def plain(column: Any) -> tuple[Any, str]:
    """(the column as whole numbers or as text, "") or (None, why it is no label)."""
    types = pa.types
    try:
        if types.is_null(column.type):
            return pa.nulls(len(column), pa.int64()), ""
        if types.is_dictionary(column.type):
            return plain(column.dictionary_decode())
        if types.is_string(column.type) or types.is_large_string(column.type) or types.is_string_view(column.type):
            text = column.cast(pa.large_string())
            return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), None, text), ""
        if types.is_unsigned_integer(column.type) and (pc.max(column).as_py() or 0) >= 2**63:
            return None, "holds numbers of 64 bits, which are not class numbers"
        if types.is_integer(column.type):
            return column, ""
        if types.is_boolean(column.type):
            return column.cast(pa.int64()), ""
        if types.is_floating(column.type):
            return _whole(column)
        if types.is_decimal(column.type):
            return _whole(column.cast(pa.float64()))
    except pa.ArrowException as error:
        return None, f"cannot be read ({str(error).splitlines()[0][:100]})"
    return None, f"is of the type {column.type}; classes are whole numbers or text"


def _whole(column: Any) -> tuple[Any, str]:
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    if not (np.abs(values[~missing]) < 2.0**53).all() or (values[~missing] % 1).any():
        return None, f"holds numbers with fractions ({column.type}); classes are whole numbers or text"
    whole = np.where(missing, NO_LABEL, values).astype(np.int64)
    return pa.array(whole, mask=missing), ""


def numbered(columns: Iterable[Any]) -> tuple[Int32[np.ndarray, " rows"], int]:
    """(the class of every row, the highest number) of columns of integers; numbers are cut at MAX_CLASSES.

    A row without a number, or with one below 0, has NO_LABEL.
    """
    parts, highest = [np.empty(0, np.int32)], NO_LABEL
    for column in columns:
        top = pc.max(column).as_py()
        highest = highest if top is None else max(highest, top)
        values = column.fill_null(0).to_numpy().astype(np.int64)
        labels = np.clip(values, NO_LABEL, MAX_CLASSES).astype(np.int32)
        labels[column.is_null().to_numpy(zero_copy_only=False)] = NO_LABEL
        parts.append(labels)
    return np.concatenate(parts), highest


def named(columns: Iterable[Any]) -> tuple[Int32[np.ndarray, " rows"], tuple[str, ...]]:
    """(the class of every row, the names in order) of columns of text; a row without a name has NO_LABEL."""
    parts = [part if pa.types.is_dictionary(part.type) else part.dictionary_encode() for part in columns]
    spelled = [[class_name(name) for name in part.dictionary.to_pylist()] for part in parts]
    names = sorted({name for part in spelled for name in part})
    number = {name: i for i, name in enumerate(names)}
    labels = [np.empty(0, np.int32)]
    for part, spellings in zip(parts, spelled, strict=True):
        known = np.array([number[name] for name in spellings] + [NO_LABEL], np.int32)
        labels.append(known[part.indices.fill_null(NO_LABEL).to_numpy()])
    return np.concatenate(labels), tuple(names)


def _compact(
    labels: Int32[np.ndarray, " rows"], highest: int, names: Sequence[str]
) -> tuple[Int32[np.ndarray, " rows"], tuple[str, ...]]:
    """Numbers up to the highest; but the numbers that occur alone, where they are few among those below the highest.

    One mistaken label of 999999 makes one class more, not a million.
    """
    if len(names) > highest:
        return labels, tuple(map(str, names))
    occurs = np.zeros(highest + 1, bool)
    occurs[labels[labels >= 0]] = True
    numbers = np.flatnonzero(occurs)
    if highest < 2 * len(numbers) + _GAPS:
        return labels, tuple(map(str, range(highest + 1)))
    new_number = np.full(highest + 2, NO_LABEL, np.int32)  # the last is read for NO_LABEL
    new_number[numbers] = np.arange(len(numbers), dtype=np.int32)
    return new_number[labels], tuple(str(number) for number in numbers.tolist())
