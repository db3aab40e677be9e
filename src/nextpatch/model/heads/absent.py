"""In the place of a head, for weights that have none, as the released ones."""

from __future__ import annotations

from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.head import Head


class NoHead(Head):
    """Features only: asked to predict, it refuses."""

    predicts = False

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()

    def hidden(
        self,
        rows: Tensor,
        input_position: Tensor,
        target_position: Tensor,
        image_of_row: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """UserError, always."""
        raise UserError("these weights have no pixel head and can predict nothing; fit one with: nextpatch fit-head")

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """None."""
        return 0

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """None."""
        return 0

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """None."""
        return 0

    @staticmethod
    def table_values(cfg: ModelConfig) -> int:
        """None."""
        return 0

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """Nothing."""
        return 0

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """No blocks."""
        return []
