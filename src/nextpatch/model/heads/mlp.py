"""The paper's head: residual MLP blocks, each patch by itself (section 4.2)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.head import Head
from nextpatch.model.init import Init
from nextpatch.model.layers import MLP, LayerNorm
from nextpatch.patches import sincos_positions


class HeadBlock(nn.Module):
    """x += mlp(norm(x)), each position by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Residual MLP."""
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class MLPHead(Head):
    """Linear -> positions -> residual MLP blocks -> norm -> linear to the outputs of the target.

    Positions are those of the INPUT token. Source: section 4.2, Table 4.
    """

    positions: Tensor

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        s = cfg.shape
        self.proj = nn.Linear(s.embed_dim, s.head_width)
        self.blocks = nn.ModuleList(self.block(cfg) for _ in range(s.head_depth))
        self.norm = LayerNorm(s.head_width)
        self.pred = nn.Linear(s.head_width, cfg.outputs)
        self.register_buffer("positions", sincos_positions(cfg.grid, s.head_width), persistent=False)
        self._grid = cfg.grid

    @staticmethod
    def block(cfg: ModelConfig) -> nn.Module:
        """One of its blocks."""
        return HeadBlock(cfg.shape.head_width)

    def init_own(self, init: Init) -> None:
        """The table of positions."""
        self.positions.copy_(sincos_positions(self._grid, self.positions.shape[1]))

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Change to images of another size: recomputes the table of positions."""
        self._grid, self.positions = grid, sincos_positions(grid, self.positions.shape[1])

    def hidden(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Tensor | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Row by row; only the input's position counts."""
        h = self.proj(rows) + self.positions[input_position]
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.norm(h)
        return out

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """Linear layers with biases, blocks without; their norms."""
        d, h = cfg.shape.embed_dim, cfg.shape.head_width
        blocks = cfg.shape.head_depth * (8 * h * h + 2 * h)
        return d * h + h + blocks + 2 * h + h * cfg.outputs + cfg.outputs

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """A block is 8 h^2 weights."""
        d, h = cfg.shape.embed_dim, cfg.shape.head_width
        return 2 * work.rows * (d * h + cfg.shape.head_depth * 8 * h * h + h * cfg.outputs)

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """The projection's."""
        return 2 * work.rows * cfg.shape.embed_dim * cfg.shape.head_width

    @staticmethod
    def table_values(cfg: ModelConfig) -> int:
        """The table of positions."""
        return cfg.num_patches * cfg.shape.head_width

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """The inputs of the first and last linear layer, and the last norm's with its statistics."""
        d, h = cfg.shape.embed_dim, cfg.shape.head_width
        return work.rows * (work.width * d + (4 + work.width) * h + 8)

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """Of a block: the norm's input (float32) and statistics, and what products and GELU keep, 9 numbers a value."""
        h = cfg.shape.head_width
        return [Unit(8 * h * h, work.rows * ((4 + 9 * work.width) * h + 8), work.rows * h)] * cfg.shape.head_depth
