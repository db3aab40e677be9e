"""Sets of blocks by name: which outputs of the trunk a probe averages."""

from __future__ import annotations

import re

_SINGLES, _LAST = 6, 6
LayerSets = dict[str, list[str]]


def layer_sets(specs: tuple[str, ...], depth: int) -> LayerSets:
    """Name -> block outputs: of "3", "2,3", "0-3" or "each"; the default spreads single blocks over the depth.

    The default also averages the last six blocks, as the paper does (section 5). ValueError for what does not exist.
    """
    if not specs:
        steps = [round((i + 1) * depth / min(depth, _SINGLES)) - 1 for i in range(min(depth, _SINGLES))]
        specs = (*map(str, steps), f"{max(0, depth - _LAST)}-{depth - 1}")
    if specs == ("each",):
        specs = tuple(map(str, range(depth)))
    return {spec: [f"block_{block}" for block in _blocks(spec, depth)] for spec in specs}


def _blocks(spec: str, depth: int) -> list[int]:
    found: list[int] = []
    for part in spec.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise ValueError(f"layers '{spec}' is not of the form 3, 2,3 or 0-3; or give 'each' alone")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < depth:
            raise ValueError(f"layers '{spec}': this model has blocks 0 to {depth - 1}")
        found += range(first, last + 1)
    return sorted(set(found))


def blocks_named(spec: str, depth: int) -> list[str]:
    """The block outputs of one set, as "3", "2,3" or "0-3"; ValueError for what does not exist."""
    return [f"block_{block}" for block in _blocks(spec, depth)]


def last_blocks(depth: int, count: int = _LAST) -> list[str]:
    """The last six blocks, or all of fewer: what the paper averages unless it says otherwise."""
    return [f"block_{block}" for block in range(max(0, depth - count), depth)]
