"""Saving beside the training: a copy in memory first, then the same save in a thread, on a line of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from nextpatch.dist.ranks import Ranks
from nextpatch.runs.checkpoint.retention import prune
from nextpatch.runs.checkpoint.save import save_checkpoint

Tensors = Mapping[str, Mapping[str, Tensor]]


class BackgroundSaver:
    """At most one save at a time; the copies live in the CPU's memory and are used again by the next save."""

    def __init__(self, ranks: Ranks) -> None:
        self._world = ranks.side_group()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._copies: dict[str, dict[str, Tensor]] = {}
        self._meshes: dict[tuple[int, ...], DeviceMesh] = {}

    def start(
        self, folder: Path, step: int, tensors: Tensors, state: Mapping[str, Any], keep: int, keep_every: int = 0
    ) -> None:
        """Copy, and begin to save as `save_checkpoint` does, then to prune; waits for the save before (collective)."""
        with self._world.raise_on_all():
            self.wait()
        with torch.no_grad():
            copies = {
                group: {name: self._copy(group, name, t) for name, t in own.items()} for group, own in tensors.items()
            }

        def work() -> None:
            try:
                save_checkpoint(folder, step, copies, state, self._world)
                prune(folder, keep, keep_every, self._world)
            except Exception as error:
                self._error = error

        self._thread = threading.Thread(target=work, name=f"save of step {step}", daemon=True)
        self._thread.start()

    def failure(self) -> str | None:
        """What went wrong with the last save, as far as it is known now."""
        return None if self._error is None else f"{type(self._error).__name__}: {self._error}"

    def wait(self) -> None:
        """Return when the last save is done; raise what it failed with."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _copy(self, group: str, name: str, tensor: Tensor) -> Tensor:
        """The tensor's own part in the CPU's memory, on a mesh of CPUs of the same shape."""
        own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        kept = self._copies.setdefault(group, {})
        if name not in kept or kept[name].shape != own.shape:
            kept[name] = torch.empty_like(own, device="cpu", pin_memory=own.is_cuda)
        kept[name].copy_(own)
        if not isinstance(tensor, DTensor):
            return kept[name]
        mesh = self._on_cpu(tensor.device_mesh)
        return DTensor.from_local(
            kept[name], mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
        )

    def _on_cpu(self, mesh: DeviceMesh) -> DeviceMesh:
        if mesh.device_type == "cpu":
            return mesh
        shape = tuple(mesh.mesh.shape)
        if shape not in self._meshes:
            self._meshes[shape] = DeviceMesh("cpu", mesh.mesh, mesh_dim_names=mesh.mesh_dim_names)
        return self._meshes[shape]
