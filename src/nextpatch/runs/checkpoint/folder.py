"""A folder of checkpoints: the newest that verifies, or the one of a step; damaged ones are set aside."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from nextpatch.core.faults import fault_point
from nextpatch.dist.materialize import put
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.checkpoint import shards
from nextpatch.runs.checkpoint.files import (
    REMOVED,
    REPLACED,
    UNFINISHED,
    CheckpointError,
    published,
    read_state,
    step_of,
)  # fmt: skip
from nextpatch.runs.checkpoint.retention import restore
from nextpatch.runs.checkpoint.verification import problems_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, its step (optimizer steps done) and the plain values beside the tensors."""

    path: Path
    step: int
    state: dict[str, Any]

    def names(self, name: str) -> list[str]:
        """Of the tensors saved under `name`; [] where there are none."""
        if shards.is_sharded(self.path):
            return list(self._shards(name))
        return list(self._shapes(name)) if (self.path / f"{name}.safetensors").exists() else []

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors saved under `name`, whole, on the CPU, whoever saved them."""
        if shards.is_sharded(self.path):
            return shards.read_whole(self.path, name)
        return load_file(self.path / f"{name}.safetensors")

    def load_into(self, name: str, tensors: Mapping[str, Tensor], ranks: Ranks = ALONE) -> None:
        """Fill `tensors` in place with those saved under `name`, bit for bit; a rank reads no more than its part.

        Collective for DTensors. CheckpointError, before anything is changed, when names or shapes are not the same.
        """
        sharded = shards.is_sharded(self.path)
        self._check(name, self._shards(name) if sharded else self._shapes(name), tensors)
        if sharded:
            shards.read_into(self.path, name, tensors, ranks)
            return
        with safe_open(self.path / f"{name}.safetensors", framework="pt") as file, torch.no_grad():
            for key, tensor in tensors.items():
                put(tensor, file.get_tensor(key))

    def _shapes(self, name: str) -> dict[str, torch.Size]:
        with safe_open(self.path / f"{name}.safetensors", framework="pt") as file:
            return {key: torch.Size(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118

    def _shards(self, name: str) -> dict[str, torch.Size]:
        return {key: entry.size for key, entry in shards.entries(self.path, name).items()}

    def _check(self, name: str, found: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
        odd = sorted(found.keys() ^ tensors.keys()) or [key for key in found if found[key] != tensors[key].shape]
        if odd:
            raise CheckpointError(
                f"{self.path}: '{name}' is of another model: {', '.join(odd[:4])} is not the same on both sides; use "
                "the run's own recipe"
            )


def newest_checkpoint(folder: Path, mend: bool = False, ranks: Ranks = ALONE) -> Checkpoint | None:
    """The newest checkpoint that verifies; None when there is none. Damaged newer ones are named in the log.

    With `mend`, for the one run that writes here: a damaged one is renamed to `step_x.damaged`, never deleted, and what
    a killed save or removal left behind is removed. Without it nothing is touched, for the run may be alive.
    Collective: all ranks share the reading and get the same checkpoint.
    """
    if mend:
        with ranks.raise_on_all():
            if ranks.is_main:
                fault_point("mend")
                restore(folder)
                for path in [path for prefix in (UNFINISHED, REMOVED, REPLACED) for path in folder.glob(f"{prefix}*")]:
                    shutil.rmtree(path, ignore_errors=True)
    for name in ranks.broadcast([path.name for path in reversed(published(folder))]):
        path = folder / name
        problems = problems_of(path, ranks)
        if not problems:
            return Checkpoint(path, step_of(path), read_state(path))
        if not ranks.broadcast(path.exists()):  # its run has just removed it, because there are newer ones
            return newest_checkpoint(folder, mend, ranks)
        if ranks.is_main:
            what = f"set aside as {_set_aside(path).name}" if mend else "an older one is used"
            log.warning("checkpoint %s is damaged (%s); %s", path, "; ".join(problems), what)
    return None


def checkpoint_at(folder: Path, step: int, ranks: Ranks = ALONE) -> Checkpoint:
    """The checkpoint of one step; CheckpointError when it is not there or is damaged."""
    path = folder / f"step_{step:08d}"
    if not path.is_dir():
        there = ", ".join(str(step_of(p)) for p in published(folder)) or "none"
        raise CheckpointError(f"no checkpoint of step {step} in {folder}; there are: {there}")
    if problems := problems_of(path, ranks):
        raise CheckpointError(f"checkpoint {path} is damaged ({'; '.join(problems)}); use another step")
    return Checkpoint(path, step, read_state(path))


def _set_aside(path: Path) -> Path:
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return path.rename(aside)
