"""How every parameter starts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nextpatch.core.random import torch_generator
from nextpatch.model.aim import AIM, PixelHead
from nextpatch.patches import sincos_positions

Put = Callable[[Tensor, Tensor], object]


@torch.no_grad()
def init_weights(model: AIM, seed: int, put: Put = Tensor.copy_) -> None:
    """Fill every parameter and position table of `model` in place, the same for the same seed on any device.

    `put(parameter, values)` copies a matrix of values into its place, which may hold a part of them only.

    | what                                                  | start                                       |
    |-------------------------------------------------------|---------------------------------------------|
    | every linear weight, the fused qkv as one matrix      | uniform(-a, a), a = sqrt(6/(fan_in+fan_out)) |
    | every linear bias: patch projection, head in and out  | 0                                           |
    | LayerNorm weight and bias                             | 1 and 0                                     |
    | position tables (buffers)                             | fixed 2-D sine-cosine, not learned          |

    Source: the paper gives no init; this is the authors' public answer. Works after `to_empty` on a meta-device model:
    a parameter that this function does not know is an error, never left undefined.
    """
    generator = torch_generator(seed)
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Linear):
            _xavier_uniform(module.weight, generator, put)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif own:
            raise TypeError(f"no start is defined for {', '.join(own)} of {type(module).__name__}")
    s, grid = model.cfg.shape, model.cfg.grid
    model.patch_embed.positions.copy_(sincos_positions(grid, s.embed_dim))
    if isinstance(model.head, PixelHead):
        model.head.positions.copy_(sincos_positions(grid, s.head_width))


def _xavier_uniform(weight: Tensor, generator: torch.Generator, put: Put) -> None:
    fan_out, fan_in = weight.shape
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    put(weight, torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator))
