"""How many images fit into memory in one training step."""

from __future__ import annotations

import os

import torch

from nextpatch.model.config import ModelConfig
from nextpatch.train.memory import Setting, largest_micro_batch

_USABLE = 0.8  # of the memory: the rest is for PyTorch itself, fragments, data workers


def memory_bytes(device: torch.device) -> int:
    """Memory that a run may plan with: what is free on a GPU, else half of the machine's, which others use too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def images_that_fit(cfg: ModelConfig, available_bytes: int, setting: Setting, share: int) -> int:
    """The largest power of two of images that fit beside weights and optimizer; at least one. `share`: of a step."""
    return max(1, largest_micro_batch(cfg, setting, _USABLE * available_bytes, share=share))


def largest_power_of_two(most: int) -> int:
    """The largest power of two that is not above `most`; 1 when there is none."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1
