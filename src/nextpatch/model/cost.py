"""What the parts of a model cost, in the terms that every part answers in: parameters, operations, bytes.

Each part says what it costs beside its own code (`params`, `flops`, `kept_bytes`); count.py and train/memory.py only
add up. A multiply-add is two operations, and only matrix products count, as in `torch.utils.flop_counter`. Costs are of
one image; `width` is the bytes of a number in matrix products: 2 for bfloat16, 4 for float32.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kernel = Literal["fused", "written out"]  # attention without its matrix of scores in memory, or with it


Recompute = Literal["none", "selective", "full"]  # what backward computes again instead of keeping it


class Workload(NamedTuple):
    """What is computed of one image for its loss, and how.

    Of the `tokens` of its sequence `rows` are scored, and `longest` of the image of the micro-batch that has the most.
    `mask`: whether attention has a mask, one for each image.
    """

    tokens: int
    rows: float
    longest: int
    width: int = 2
    kernel: Kernel = "fused"
    recompute: Recompute = "none"
    mask: bool = True


class Unit(NamedTuple):
    """A block as FSDP2 gathers it and backward goes through it: weights of its products, bytes kept of one image for
    backward, and the numbers in its stream (rows times dimension), which set what backward makes and drops.

    `again`: bytes that its own backward brings back where it computes forward again; `scores`: numbers in attention's
    matrix where that is written out.
    """

    params: int
    kept: float
    stream: float
    again: float = 0.0
    scores: float = 0.0
