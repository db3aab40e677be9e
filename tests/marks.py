"""A source that leaves a file for each shard it was asked for, to be sent to another process."""

from __future__ import annotations

from pathlib import Path


class Marks:
    """`failing` shards cannot be fetched."""

    def __init__(self, folder: str, failing: tuple[int, ...] = ()) -> None:
        self.folder, self.failing = folder, failing

    def prefetch(self, shard: int) -> None:
        if shard in self.failing:
            raise OSError(f"no shard {shard}")
        Path(self.folder, str(shard)).write_text("")


def plan(position: int, width: int) -> list[int]:
    """So many shards from the position on."""
    return list(range(position, position + width))
