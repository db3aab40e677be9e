"""Samples that could not be used, from all ranks together."""

from __future__ import annotations

from collections.abc import Sequence

from nextpatch.data.skipped import Bad, Skipped
from nextpatch.dist.ranks import Ranks


class BadOfAll:
    """What this rank knows (`own`, filled by others as the run goes on) and, after `share`, what the others know."""

    def __init__(self, ranks: Ranks, own: Sequence[Bad]) -> None:
        self._world, self._own = ranks, own
        self._told: set[str] = set()
        self._others: Bad = {}

    @property
    def watched(self) -> Sequence[Bad]:
        """Everything that this rank has heard of so far, growing."""
        return (*self._own, self._others)

    @property
    def news(self) -> int:
        """How many the other ranks have not been told of."""
        return len(self._fresh())

    def share(self) -> None:
        """Tell each other (collective)."""
        fresh = self._fresh()
        for told in self._world.gather(fresh):
            self._others |= {key: Skipped(*entry) for key, entry in told.items()}
        self._told |= fresh.keys()

    def _fresh(self) -> Bad:
        if self._world.size == 1:
            return {}
        return {key: entry for bad in self._own for key, entry in bad.items() if key not in self._told}
