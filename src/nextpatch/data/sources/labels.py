"""The class of every row of several tables, from columns of numbers or of names, in four bytes a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Int32

NO_LABEL = -1  # the Hub's own sign for "not labeled"
MAX_CLASSES = 1_000_000


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
    parts = [column.dictionary_encode() for column in columns]
    names = sorted({name for part in parts for name in part.dictionary.to_pylist()})
    number = {name: i for i, name in enumerate(names)}
    labels = [np.empty(0, np.int32)]
    for part in parts:
        known = np.array([number[name] for name in part.dictionary.to_pylist()] + [NO_LABEL], np.int32)
        labels.append(known[part.indices.fill_null(NO_LABEL).to_numpy()])
    return np.concatenate(labels), tuple(names)
