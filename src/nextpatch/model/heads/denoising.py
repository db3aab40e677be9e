"""The network of heads that learn a patch from noise: an MLP on a noisy patch, told the condition and the time.

Source: MAR (arXiv 2406.11838), section 3.3 and appendix: residual MLP blocks, each with its norm shifted, scaled and
gated by the condition and the time (AdaLN, as in DiT); gates and output start at zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.distribution import Known
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.standard import Standard
from nextpatch.model.init import Init
from nextpatch.model.layers import LN_EPS, MLP
from nextpatch.patches import sincos_positions

_TIME_SCALE, _LONGEST = 1000.0, 10000.0  # times from 0 to 1 are told as those of 1,000 steps, at sines of such periods


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero: what it adds is nothing before it has learned."""

    def init_own(self, init: Init) -> None:
        """All zero."""
        self.weight.zero_()
        self.bias.zero_()


class ToldBlock(nn.Module):
    """x += gate * mlp(norm(x) * (1 + scale) + shift), of which the condition says shift, scale and gate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.told = ZeroLinear(dim, 3 * dim)
        self.mlp = MLP(dim, 1)

    def forward(self, x: Float[Tensor, "*rows dim"], told: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Row by row; the residual stream keeps its dtype."""
        return self.changed(x, self.told(told))

    def changed(self, x: Float[Tensor, "*rows dim"], own: Float[Tensor, "*rows three"]) -> Float[Tensor, "*rows dim"]:
        """The same, of shift, scale and gate."""
        shift, scale, gate = own.chunk(3, dim=-1)
        out: Tensor = x + gate * self.mlp(normed(x) * (1 + scale) + shift)
        return out


class DenoisingHead(Head):
    """Condition = linear of the feature + position of the TARGET. Network: noisy patch -> blocks -> values of a patch.

    Patches are standardized value by value inside (`Standard`). `pred` is nothing: the condition is what the head
    gives, and `losses` and `sample` go on from there.
    """

    positions: Tensor

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        s, width = cfg.shape, cfg.shape.head_width
        self.draws = cfg.draws
        self.proj = nn.Linear(s.embed_dim, width)
        self.noisy = nn.Linear(cfg.patch_dim, width)
        self.time_1, self.time_2 = nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(ToldBlock(width) for _ in range(s.head_depth))
        self.told = ZeroLinear(width, 2 * width)
        self.clean = ZeroLinear(width, cfg.patch_dim)
        self.pred = nn.Identity()
        self.standard = Standard(cfg.patch_dim)
        self.register_buffer("positions", sincos_positions(cfg.grid, width), persistent=False)
        self._grid = cfg.grid

    def init_own(self, init: Init) -> None:
        """The table of positions."""
        self.positions.copy_(sincos_positions(self._grid, self.positions.shape[1]))

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Change to images of another size: recomputes the table of positions."""
        self._grid, self.positions = grid, sincos_positions(grid, self.positions.shape[1])

    def measure(self, patches: Iterable[Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
        """Center, scale and range of each value of a patch."""
        self.standard.measure(patches)

    def hidden(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Tensor | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """The condition, row by row; only the target's position counts."""
        out: Tensor = self.proj(rows) + self.positions[target_position]
        return out

    def denoised(
        self,
        noisy: Float[Tensor, "*rows values"],
        condition: Float[Tensor, "*#rows width"],
        time: Float[Tensor, "*#rows"],
    ) -> Float[Tensor, "*rows values"]:
        """The network: what is learned of a noisy patch at a time from 0 to 1. Never in half precision."""
        told = F.silu(condition + self.timed(time.to(condition.dtype)))
        x = self.noisy(noisy).to(condition.dtype)
        told = told.expand_as(x)
        for block in self.blocks:
            x = block(x, told)
        return self.ended(x, self.told(told))

    def timed(self, time: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows width"]:
        """What the condition is told of the time."""
        out: Tensor = self.time_2(F.silu(self.time_1(_waves(time, self.time_1.in_features))))
        return out

    def ended(self, x: Float[Tensor, "*rows width"], own: Float[Tensor, "*rows two"]) -> Float[Tensor, "*rows values"]:
        """The values behind the blocks, of shift and scale of the last norm."""
        shift, scale = own.chunk(2, dim=-1)
        out: Tensor = self.clean(normed(x) * (1 + scale) + shift)
        return out if out.dtype == torch.float64 else out.float()

    def finished(self, standard: Float[Tensor, "rows values"], known: Known | None) -> Float[Tensor, "rows values"]:
        """Patches as pixels; what is known as it was given."""
        found = self.standard.back(standard)
        return found if known is None else found.where(~known.mask, known.values.to(found.dtype))

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """Biases but in the MLPs: projections, time, blocks, what the last norm is told, and the output."""
        d, w, v = cfg.shape.embed_dim, cfg.shape.head_width, cfg.patch_dim
        outer = d * w + w + v * w + w + 2 * (w * w + w) + 2 * (w * w + w) + w * v + v
        return outer + cfg.shape.head_depth * (5 * w * w + 3 * w)

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """The projection once a row, the network for each draw."""
        w, v = cfg.shape.head_width, cfg.patch_dim
        network = 2 * v * w + 4 * w * w + cfg.shape.head_depth * 5 * w * w
        return DenoisingHead.input_flops(cfg, work) + 2 * work.rows * cfg.draws * network

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """The projection's."""
        return 2 * work.rows * cfg.shape.embed_dim * cfg.shape.head_width

    @staticmethod
    def data_flops(cfg: ModelConfig, work: Workload) -> float:
        """Of noisy patches and times, for each draw."""
        w = cfg.shape.head_width
        return 2 * work.rows * cfg.draws * (cfg.patch_dim * w + w * w)

    @staticmethod
    def table_values(cfg: ModelConfig) -> int:
        """Positions, and how values are scaled."""
        return cfg.num_patches * cfg.shape.head_width + 4 * cfg.patch_dim

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """The projection's input; of each draw what time, input and output of the network keep, and the error."""
        w, v, c = cfg.shape.head_width, cfg.patch_dim, work.width
        each = c * v + (12 + 8 * c) * w + 8 + 4 * v
        return work.rows * (c * cfg.shape.embed_dim + cfg.draws * each)

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """Of a block, for each draw: the norm's input, output and statistics, shift, scale and gate, what products and
        GELU keep, and in bfloat16 a copy of what it is told.
        """
        w, c, rows = cfg.shape.head_width, work.width, work.rows * cfg.draws
        told = c if c == 2 else 0
        unit = Unit(5 * w * w, rows * ((8 + 8 * c + told) * w + 8), rows * w)
        return [unit] * cfg.shape.head_depth


def normed(x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
    """LayerNorm without weights, never in half precision."""
    wide = x if x.dtype == torch.float64 else x.float()
    return F.layer_norm(wide, wide.shape[-1:], eps=LN_EPS)


def _waves(time: Float[Tensor, "*rows"], width: int) -> Float[Tensor, "*rows {width}"]:
    """Sines and cosines of a time, at frequencies as of positions."""
    each = torch.arange(width // 2, dtype=torch.float64, device=time.device)
    frequency = torch.exp(each * (-2 * math.log(_LONGEST) / width))
    angle = _TIME_SCALE * time[..., None] * frequency.to(time.dtype)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
