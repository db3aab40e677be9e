"""How many images fit into memory in one training step, by an upper bound."""

from __future__ import annotations

import os

import torch

from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params

_PER_WEIGHT = 4 * 4  # bytes: weight, gradient and AdamW's two moments, in float32


def memory_bytes(device: torch.device) -> int:
    """Memory that a run may plan with: what is free on a GPU, else half of the machine's, which others use too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def activation_bytes(cfg: ModelConfig) -> int:
    """Upper bound of what backward keeps of one image: every value in float32, every patch scored (S = 1).

    With d = trunk width, per token and block: residual, two norms' outputs, qkv 3, attention's output and projection,
    fc1 and GELU 4 each, which is 16 d, and twice the scores of every head; per token and head block 10 widths.
    """
    s, n = cfg.shape, cfg.num_patches
    block = 16 * n * s.embed_dim + 2 * s.num_heads * n * n
    head_block = 10 * n * s.head_width
    pixels = 4 * n * cfg.patch_dim  # images, patches, targets, prediction
    return 4 * (s.depth * block + s.head_depth * head_block + pixels)


def images_that_fit(cfg: ModelConfig, available_bytes: int) -> int:
    """The largest power of two of images that fit beside weights and optimizer; at least one."""
    room = available_bytes - _PER_WEIGHT * count_params(cfg).total
    return largest_power_of_two(room // activation_bytes(cfg))


def largest_power_of_two(most: int) -> int:
    """The largest power of two that is not above `most`; 1 when there is none."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1
