"""Sets of blocks by name: which outputs of the trunk a probe averages."""

from __future__ import annotations

import re

from nextpatch.core.errors import UserError

_SINGLES, _LAST = 6, 6
LayerSets = dict[str, list[str]]


def layer_sets(specs: tuple[str, ...], depth: int) -> LayerSets:
    """Name -> block outputs: of "3", "2,3", "0-3", "each" or "windows"; the default spreads blocks over the depth.

    The default also averages the last six blocks, as the paper does (section 5). UserError for what does not exist.
    """
    if not specs:
        steps = [round((i + 1) * depth / min(depth, _SINGLES)) - 1 for i in range(min(depth, _SINGLES))]
        specs = (*map(str, steps), f"{max(0, depth - _LAST)}-{depth - 1}")
    spread = [one for spec in specs for one in _spread(spec, depth)]
    return {spec: [f"block_{block}" for block in _blocks(spec, depth)] for spec in dict.fromkeys(spread)}


def _spread(spec: str, depth: int) -> list[str]:
    """ "each": every block by itself; "windows": every run of six blocks; anything else as it is."""
    if spec == "each":
        return list(map(str, range(depth)))
    if spec == "windows":
        return [f"{first}-{min(first + _LAST, depth) - 1}" for first in range(max(1, depth - _LAST + 1))]
    return [spec]


def _blocks(spec: str, depth: int) -> list[int]:
    found: list[int] = []
    for part in spec.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise UserError(f"layers '{spec}' is not of the form 3, 2,3 or 0-3; 'each' or 'windows'")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < depth:
            raise UserError(f"layers '{spec}': this model has blocks 0 to {depth - 1}")
        found += range(first, last + 1)
    return sorted(set(found))


def blocks_named(spec: str, depth: int) -> list[str]:
    """The block outputs of one set, as "3", "2,3" or "0-3"; UserError for what does not exist."""
    return [f"block_{block}" for block in _blocks(spec, depth)]


def last_blocks(depth: int, count: int = _LAST) -> list[str]:
    """The last six blocks, or all of fewer: what the paper averages unless it says otherwise."""
    return [f"block_{block}" for block in range(max(0, depth - count), depth)]
