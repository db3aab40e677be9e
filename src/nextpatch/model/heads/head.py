"""The seam between trunk and prediction: what every head takes, gives, and says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.attention import Rows
from nextpatch.model.cache import BlockCache
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload


class Head(nn.Module, ABC):
    """From features of the trunk, after its final norm, to `outputs` numbers a row: what the target is scored against.

    `packed`: each row is predicted by itself, so that the loss may give the scored rows alone. Where it is False the
    head gets whole sequences, "batch length dim", with the trunk's mask, and the loss asks for `hidden_rows`. `blocks`
    are what FSDP2 gathers, what is compiled and what backward goes through one by one; there may be none. `pred` is the
    last layer, a linear one, apart from the rest: with thousands of outputs the loss goes through it in pieces. A head
    that is a `Distribution` has none: `pred` gives back what `hidden` is.
    """

    packed: ClassVar[bool] = True
    predicts: ClassVar[bool] = True
    blocks: nn.ModuleList
    pred: nn.Module

    def __init_subclass__(cls, **keywords: Any) -> None:
        """TypeError for a `forward` of its own, which the loss in pieces would never call."""
        super().__init_subclass__(**keywords)
        if "forward" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} has a forward of its own; implement hidden, and let pred be the last layer"
            )

    @abstractmethod
    def hidden(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Float[Tensor, "#batch 1 length length"] | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """All but the last layer. Positions are places of the grid in raster order: of the token that a row is the
        feature of, and of the patch that it predicts. `mask` is additive, and for heads that are not `packed`.
        """

    def hidden_rows(
        self,
        features: Float[Tensor, "batch length dim"],
        input_position: Int[Tensor, "*#batch length"],
        target_position: Int[Tensor, "*#batch length"],
        image: Int[Tensor, "batch length"],
        mask: Float[Tensor, "#batch 1 length length"] | None,
        rows: Rows,
    ) -> Float[Tensor, "rows width"]:
        """`hidden` of whole sequences at `rows`, for a head that is not `packed`; one that can do so computes less."""
        whole = self.hidden(features, input_position, target_position, image, mask)
        return whole.flatten(0, 1).index_select(0, rows.flat)

    def forward(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Float[Tensor, "#batch 1 length length"] | None = None,
    ) -> Float[Tensor, "*rows outputs"]:
        """Predictions: the last layer of `hidden`."""
        hidden = self.hidden(rows, input_position, target_position, image_of_row, mask)
        out: Tensor = self.pred(hidden)
        return out

    def extend(
        self,
        features: Float[Tensor, "batch new dim"],
        target_position: Int[Tensor, "batch new"],
        cache: Sequence[BlockCache],
        mask: Float[Tensor, "#batch 1 #new seen"] | None = None,
    ) -> Float[Tensor, "batch new width"]:
        """`hidden` at tokens that come after those in the cache, behind a start token; of a head that is not `packed`
        and says what is `cached`. `mask` as in `Trunk.extend`.
        """
        raise TypeError(f"{type(self).__name__} needs whole sequences")

    @staticmethod
    def cached(cfg: ModelConfig) -> tuple[int, int, int]:
        """(blocks, attention heads, width) of which keys and values are kept where tokens come one by one."""
        return 0, 1, 0

    @staticmethod
    @abstractmethod
    def params(cfg: ModelConfig) -> int:
        """Learned values."""

    @staticmethod
    @abstractmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """Operations of the products for the predictions at the rows of an image."""

    @staticmethod
    @abstractmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """Those of them in the layers that take features: behind a frozen trunk no gradient goes into these."""

    @staticmethod
    def data_flops(cfg: ModelConfig, work: Workload) -> float:
        """Those of them in layers that take data, such as noisy pixels: no gradient goes into these either."""
        return 0

    @staticmethod
    @abstractmethod
    def table_values(cfg: ModelConfig) -> int:
        """Values of tables that are computed, not learned."""

    @staticmethod
    @abstractmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """What autograd keeps of an image beside `units`, the head's own input included."""

    @staticmethod
    @abstractmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """The cost of each of `blocks`, in the order of backward."""
