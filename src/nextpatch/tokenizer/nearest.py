"""The nearest of many codes to each row, by one matrix product a piece: never all distances at once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PIECE = 2**22  # distances in memory at a time


def nearest(rows: Float[Tensor, "rows values"], codes: Float[Tensor, "codes values"]) -> Int[Tensor, " rows"]:
    """The code with the smallest squared distance to each row, of equal ones the first; always in float32.

    |x - c|^2 is |x|^2 + 2 (|c|^2 / 2 - x c), whose first part is the same for all codes. Memory: 2^22 distances,
    whatever the number of rows.
    """
    with torch.autocast(rows.device.type, enabled=False):
        half = codes.square().sum(dim=1) / 2
        columns = codes.t()
        found = [
            torch.addmm(half, piece.float(), columns, alpha=-1).argmin(dim=1)
            for piece in torch.split(rows, max(1, _PIECE // len(codes)))
        ]
    return torch.cat(found) if found else rows.new_zeros(0, dtype=torch.int64)
