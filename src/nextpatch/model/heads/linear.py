"""No head: one linear layer on the trunk's normed features (row "None" of Table 3e)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.head import Head


class LinearHead(Head):
    """LayerNorm -> linear to the outputs of the target; the norm is the one that ends the trunk."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.pred = nn.Linear(cfg.shape.embed_dim, cfg.outputs)

    def hidden(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Tensor | None = None,
    ) -> Float[Tensor, "*rows dim"]:
        """The rows as they are."""
        return rows

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """Weight and bias."""
        return (cfg.shape.embed_dim + 1) * cfg.outputs

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """One product."""
        return 2 * work.rows * cfg.shape.embed_dim * cfg.outputs

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """All of them."""
        return LinearHead.flops(cfg, work)

    @staticmethod
    def table_values(cfg: ModelConfig) -> int:
        """None."""
        return 0

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """Its input."""
        return work.rows * work.width * cfg.shape.embed_dim

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """No blocks."""
        return []
