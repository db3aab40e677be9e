from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from nextpatch.data.sources.labels import MAX_CLASSES, NO_LABEL, named, numbered

NUMBERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 12), max_size=8)
NAMES = st.lists(st.none() | st.sampled_from(["cat", "dog", "eel", ""]), max_size=8)


@given(st.lists(NUMBERS, max_size=4))
def test_numbers_are_themselves_or_none(columns):
    flat = [value for column in columns for value in column]
    labels, highest = numbered(pa.array(column, pa.int64()) for column in columns)
    assert labels.dtype == np.int32
    assert labels.tolist() == [NO_LABEL if v is None or v < 0 else min(v, MAX_CLASSES) for v in flat]
    assert highest == max([NO_LABEL, *(v for v in flat if v is not None)])


@given(st.lists(NAMES, max_size=4))
def test_names_are_numbered_in_their_order_over_all_columns(columns):
    flat = [value for column in columns for value in column]
    labels, names = named(pa.array(column, pa.string()) for column in columns)
    assert list(names) == sorted({value for value in flat if value is not None})
    assert [None if label == NO_LABEL else names[label] for label in labels] == flat
