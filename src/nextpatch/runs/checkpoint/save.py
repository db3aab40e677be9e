"""Writing a checkpoint: aside, whole, on the disk, agreed on by all ranks, and only then under its name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from nextpatch.core.faults import fault_point
from nextpatch.core.files import sync
from nextpatch.core.tensors import write_safetensors
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.checkpoint.files import (
    MANIFEST,
    REPLACED,
    STATE,
    UNFINISHED,
    fingerprint,
    write_plain,
)  # fmt: skip
from nextpatch.runs.checkpoint.retention import move_away, moved, restore
from nextpatch.runs.checkpoint.shards import METADATA, own_files, read_metadata, write_shards
from nextpatch.runs.checkpoint.verification import verify

POINTS = (
    "save.begin", "save.tensors", "save.metadata", "save.written", "save.synced", "save.state", "save.manifest",
    "save.agreed", "save.replace", "save.rename", "save.renamed", "save.done", "prune.move", "prune.remove", "mend",
)  # fmt: skip


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], ranks: Ranks = ALONE
) -> Path:
    """Write a checkpoint of `step` into `folder` and return its path (collective); on any error nothing is published.

    `tensors` maps a group's name to named tensors, plain ones or DTensors; `state` must be plain JSON values. A
    checkpoint of the same step is replaced. Raises OSError with the system's reason (a full disk, say) on the rank
    where it failed and PeerError on the others, after removing what was half written; only when the very last sync
    fails it is there all the same.
    """
    aside, final = folder / f"{UNFINISHED}{step:08d}", folder / f"step_{step:08d}"
    try:
        _begin(folder, aside, ranks)
        found = _write(aside, tensors, ranks)
        with ranks.raise_on_all():
            if ranks.is_main:
                _complete(aside, state, found)
        if problems := verify(aside, ranks):
            raise OSError(f"{final.name} did not read back as written: {'; '.join(problems)}")
        with ranks.raise_on_all():
            fault_point("save.agreed")
        with ranks.raise_on_all():
            if ranks.is_main:
                _publish(aside, final)
    except BaseException:
        if ranks.is_main:
            shutil.rmtree(aside, ignore_errors=True)
            restore(folder)
        raise
    with ranks.raise_on_all():
        if ranks.is_main:
            fault_point("save.renamed")
            shutil.rmtree(moved(final, REPLACED), ignore_errors=True)
            sync(folder)
            fault_point("save.done")
    return final


def _begin(folder: Path, aside: Path, ranks: Ranks) -> None:
    with ranks.raise_on_all():
        if ranks.is_main:
            fault_point("save.begin")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
    with ranks.raise_on_all():
        if not aside.is_dir():
            raise OSError(
                f"{aside} was made by rank 0 and cannot be seen by rank {ranks.rank}: the run directory must be on a "
                "file system that all machines share"
            )


def _write(aside: Path, tensors: Mapping[str, Mapping[str, Tensor]], ranks: Ranks) -> dict[str, dict[str, Any]]:
    """The tensors' files, synced; returns the fingerprints of all, made by the ranks that wrote them."""
    own: list[Path] = []
    if any(isinstance(tensor, DTensor) for group in tensors.values() for tensor in group.values()):
        with ranks.raise_on_all():
            write_shards(aside, tensors, ranks)
        own = own_files(aside, ranks)
    with ranks.raise_on_all():
        if not own and ranks.is_main:
            for name, group in tensors.items():
                fault_point("save.tensors")
                write_safetensors(aside / f"{name}.safetensors", group)
            own = sorted(aside.iterdir())
        fault_point("save.written")
        found = {file.name: fingerprint(file) for file in own}
        for file in own:
            sync(file)
        fault_point("save.synced")
    return {name: entry for part in ranks.gather(found) for name, entry in part.items()}


def _complete(aside: Path, state: Mapping[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """State and manifest beside the tensors, all of it on the disk."""
    fault_point("save.state")
    write_plain(aside / STATE, state)
    fault_point("save.manifest")
    write_plain(aside / MANIFEST, {**found, STATE: fingerprint(aside / STATE)})
    for path in (aside / STATE, aside / MANIFEST, aside):
        sync(path)
    if METADATA in found:
        read_metadata(aside)


def _publish(aside: Path, final: Path) -> None:
    if final.exists():
        move_away(final, REPLACED)
        fault_point("save.replace")
    fault_point("save.rename")
    aside.rename(final)
