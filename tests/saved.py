"""Small checkpoints that say by themselves whether they are whole."""

from pathlib import Path

import torch
from torch import Tensor

from nextpatch.runs.checkpoint import newest_checkpoint, save_checkpoint


def tensors(step: int) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(3, 5, generator=generator)
    return {
        "model": {"w": weight, "half": weight.bfloat16(), "t": weight.T, "n": torch.tensor(step)},
        "optimizer": {"w.exp_avg": weight.double()},
    }


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, tensors(step), {"step": step, "rate": 0.1})


def is_whole(folder: Path, step: int) -> bool:
    found = newest_checkpoint(folder)
    return (
        found is not None
        and found.step == step
        and found.state == {"step": step, "rate": 0.1}
        and all(
            torch.equal(found.tensors(name)[key], value) and found.tensors(name)[key].dtype == value.dtype
            for name, group in tensors(step).items()
            for key, value in group.items()
        )
    )
