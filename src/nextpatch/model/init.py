"""Initial values of all parameters: each module initializes its own; all linear layers are initialized alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nextpatch.core.random import torch_generator

Put = Callable[[Tensor, Tensor], object]


class Init:
    """The draws of one initialisation, in the order in which they are asked for; on the CPU, so equal on any device.

    `put(parameter, values)` copies a matrix of values into its place, which may hold a part of them only.
    """

    def __init__(self, seed: int, put: Put = Tensor.copy_) -> None:
        self._generator = torch_generator(seed)
        self._put = put

    def xavier_uniform(self, weight: Tensor) -> None:
        """uniform(-a, a) with a = sqrt(6 / (fan_in + fan_out)), for a matrix [fan_out, fan_in]."""
        fan_out, fan_in = weight.shape
        bound = math.sqrt(6.0 / (fan_in + fan_out))
        self._put(weight, torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=self._generator))

    def exactly(self, values: Tensor, given: Tensor) -> None:
        """These, which are no draws."""
        self._put(values, given)

    def normal(self, values: Tensor, std: float) -> None:
        """Normal with mean 0."""
        self._put(values, torch.empty(values.shape).normal_(0.0, std, generator=self._generator))


@runtime_checkable
class StatesItsStart(Protocol):
    """A module with parameters or buffers of its own, beside those of its children."""

    def init_own(self, init: Init) -> None:
        """Fill these, all of them, and none of a child's."""
        ...


@torch.no_grad()
def init_weights(model: nn.Module, seed: int, put: Put = Tensor.copy_) -> None:
    """Fill every parameter and position table of `model` in place, the same for the same seed on any device.

    | what                                                  | start                                       |
    |-------------------------------------------------------|---------------------------------------------|
    | every linear weight, the fused qkv as one matrix      | uniform(-a, a), a = sqrt(6/(fan_in+fan_out)) |
    | layers that gate or end a head which is a flow        | 0                                           |
    | every linear bias: patch projection, head in and out  | 0                                           |
    | LayerNorm weight and bias                             | 1 and 0                                     |
    | position tables (buffers)                             | fixed 2-D sine-cosine, not learned          |

    Source: the paper gives no init; this is the authors' public answer. Works after `to_empty` on a meta-device model:
    TypeError for a module that has parameters and no `init_own`, never one left undefined.
    """
    init = Init(seed, put)
    for module in model.modules():
        if isinstance(module, StatesItsStart):
            module.init_own(init)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform(module.weight)
            if module.bias is not None:
                module.bias.zero_()
        elif own := dict(module.named_parameters(recurse=False)):
            raise TypeError(f"no start is defined for {', '.join(own)} of {type(module).__name__}: give it init_own")
