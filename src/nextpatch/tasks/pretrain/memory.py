"""How many images fit into memory in one training step."""

from __future__ import annotations

from dataclasses import replace

import torch

from nextpatch.core import machine
from nextpatch.core.errors import ConfigError
from nextpatch.core.text import format_bytes
from nextpatch.dist.mesh import mesh_shape
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Kernel
from nextpatch.model.count import count_params
from nextpatch.model.precision import resolve_device, resolve_precision
from nextpatch.runs.recipe import Recipe
from nextpatch.train.memory import Setting, largest_micro_batch, step_memory

_USABLE = 0.8  # of the memory: the rest is for PyTorch itself, fragments, data workers


def memory_bytes(device: torch.device) -> int:
    """Memory that a run may plan with: what is free on a GPU, else half of the machine's, which others use too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return whole_memory_bytes(device) // 2


def whole_memory_bytes(device: torch.device) -> int:
    """All memory of the device, whoever uses it now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return machine.memory_bytes()


def check_memory(recipe: Recipe, ranks: Ranks) -> None:
    """ConfigError where a step of the recipe can never fit into this machine; by formula, before anything is built."""
    cfg, train = recipe.model, recipe.train
    device = resolve_device(train.device)
    low = resolve_precision(train.precision, device) == "bf16"
    memory = whole_memory_bytes(device) // (ranks.local_size if device.type == "cpu" else 1)
    params = count_params(cfg).total
    shard = mesh_shape(recipe.engine, ranks, params, memory)[1] if ranks.spread else 1
    kernel: Kernel = "written out" if low and device.type == "cpu" else "fused"
    setting = Setting(
        2 if low else 4, shard, ranks.spread, recipe.engine.activation_checkpointing, kernel,
        averages=train.ema_half_life > 0,
    )  # fmt: skip
    share = max(1, train.global_batch_size // ranks.size)
    images = max(1, min(train.micro_batch_size, share))
    needed = step_memory(cfg, replace(setting, several=images < share), images).total
    if train.freeze_trunk:
        needed = 4 * params // shard  # most of it has neither gradients nor an optimizer
    batch = share * cfg.in_chans * cfg.img_size[0] * cfg.img_size[1]
    if needed > memory or batch > memory:
        raise ConfigError(
            f"a step of this model of {params:,} parameters with {images} images of {train.global_batch_size:,} at a "
            f"time needs about {format_bytes(max(needed, batch))} of memory, and this {device.type} has "
            f"{format_bytes(memory)}; take a smaller model, smaller images or batches, or more ranks"
        )


def images_that_fit(cfg: ModelConfig, available_bytes: int, setting: Setting, share: int) -> int:
    """The largest power of two of images that fit beside weights and optimizer; at least one. `share`: of a step."""
    return max(1, largest_micro_batch(cfg, setting, _USABLE * available_bytes, share=share))


def largest_power_of_two(most: int) -> int:
    """The largest power of two that is not above `most`; 1 when there is none."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1
