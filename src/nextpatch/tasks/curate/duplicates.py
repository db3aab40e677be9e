"""Images that are there more than once, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt64


def repeated(digests: UInt64[np.ndarray, "images 2"]) -> list[Int64[np.ndarray, " copies"]]:
    """Groups of rows with the same digest, each ascending, by their first row. Takes 8 bytes a row for a moment."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal rows stay in their order
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    return sorted(_runs(order, same), key=lambda group: int(group[0]))


def _runs(
    order: Int64[np.ndarray, " images"], same: Bool[np.ndarray, " pairs"]
) -> Iterator[Int64[np.ndarray, " copies"]]:
    """The stretches of `order` whose members equal their neighbors."""
    edges = np.diff(np.concatenate([[0], same, [0]]).astype(np.int8))
    for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield order[first : last + 1]
