"""Which checkpoints stay, whether there is room for more, and how one goes away without a moment of half."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from nextpatch.core.faults import fault_point
from nextpatch.core.text import format_bytes
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.checkpoint.files import REMOVED, REPLACED, published, step_of
from nextpatch.runs.checkpoint.verification import verify

_MARGIN = 1.02  # for state, manifest and headers


def prune(folder: Path, keep: int, keep_every: int = 0, ranks: Ranks = ALONE) -> None:
    """Remove all but the newest `keep` checkpoints and those of steps that are multiples of `keep_every` (0: none).

    Damaged ones that were set aside stay. Collective: rank 0 removes, and what fails there fails on all.
    """
    assert keep >= 1
    with ranks.raise_on_all():
        if not ranks.is_main:
            return
        for path in published(folder)[:-keep]:
            if not keep_every or step_of(path) % keep_every:
                fault_point("prune.move")
                move_away(path, REMOVED)
                fault_point("prune.remove")
                shutil.rmtree(moved(path, REMOVED), ignore_errors=True)


def check_disk_space(folder: Path, needed_bytes: int, checkpoints: int = 1) -> None:
    """OSError when the disk of `folder` has no room for so many checkpoints of `needed_bytes` of tensors each."""
    there = folder
    while not there.exists():
        there = there.parent
    free, needed = shutil.disk_usage(there).free, round(needed_bytes * _MARGIN) * checkpoints
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: {checkpoints} checkpoints of {format_bytes(needed_bytes)} need "
            f"{format_bytes(needed)}, and {format_bytes(free)} are free; make room, or choose another --out",
            str(folder),
        )


def moved(path: Path, prefix: str) -> Path:
    """Where `move_away` puts a checkpoint."""
    return path.with_name(prefix + path.name)


def move_away(path: Path, prefix: str) -> None:
    """Rename before removing: a kill in the middle must not leave a published checkpoint with half of its files."""
    shutil.rmtree(moved(path, prefix), ignore_errors=True)
    path.rename(moved(path, prefix))


def restore(folder: Path) -> None:
    """Bring back what was moved away for a checkpoint of the same step that never came."""
    for path in folder.glob(f"{REPLACED}*"):
        final = path.with_name(path.name.removeprefix(REPLACED))
        if not final.exists() and not verify(path):
            path.rename(final)
