"""Permutations that are computed, not stored: one place costs the same in ten samples and in ten billion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt64
from numpy.typing import NDArray

Words = UInt64[np.ndarray, " count"]
FEW = 64
ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: far from any pattern of the counters it separates
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's 64-bit finalizer
_SHIFT = np.uint64(33)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit words in which every bit depends on every bit."""
    values = (values ^ (values >> _SHIFT)) * _MIX_1
    values = (values ^ (values >> _SHIFT)) * _MIX_2
    return values ^ (values >> _SHIFT)


def key_of(*numbers: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    """A 64-bit key for a tuple of numbers, each one or an array; other numbers or another order, another key."""
    key = np.zeros(1, np.uint64)
    for number in numbers:
        words = np.atleast_1d(np.asarray(number, np.int64)).astype(np.uint64)
        key = mixed((key + _STEP) ^ mixed(words + _STEP))
    return key


def permuted(
    index: Int64[np.ndarray, " count"],
    n: int | Int64[np.ndarray, " count"],
    key: NDArray[np.uint64],
) -> Int64[np.ndarray, " count"]:
    """Where each index of 0 .. n - 1 goes under the permutation of n that belongs to `key`; n, key: one or one each.

    Up to FEW, index i goes to the rank of its hash among all n hashes: every permutation is equally likely. Above, a
    Feistel network on pairs of digits to the base a = ceil(sqrt(n)) permutes 0 .. a^2 - 1; what lands at n or above is
    sent through again until it does not (Black and Rogaway's cycle walking; a^2 hardly exceeds n, so few are).
    """
    sizes = np.broadcast_to(np.asarray(n, np.uint64), index.shape)
    keys = np.broadcast_to(key, index.shape)
    result = index.astype(np.uint64)
    few = sizes <= FEW
    result[few] = _ranked(result[few], sizes[few], keys[few])
    walking = np.flatnonzero(~few)
    while len(walking):
        result[walking] = _feistel(result[walking], sizes[walking], keys[walking])
        walking = walking[result[walking] >= sizes[walking]]
    return result.astype(np.int64)


def _ranked(index: Words, sizes: Words, keys: Words) -> Words:
    if not len(index):
        return index
    every = np.arange(int(sizes.max()), dtype=np.uint64)
    hashes = mixed(keys[:, None] + every * _STEP)
    own = mixed(keys + index * _STEP)
    return np.asarray(((hashes < own[:, None]) & (every < sizes[:, None])).sum(1), np.uint64)


def _feistel(values: Words, sizes: Words, keys: Words) -> Words:
    base = np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64)
    high, low = np.divmod(values, base)
    for _ in range(ROUNDS):
        keys = keys + _STEP
        high, low = low, (high + mixed(low + keys * _MIX_1) % base) % base
    return high * base + low
