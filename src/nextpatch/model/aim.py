"""The autoregressive image model: patches -> tokens -> features -> predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.attention import Mode, Rows, attention_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.absent import NoHead
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.paper import PaperHead, image_of
from nextpatch.model.layers import HasGrid
from nextpatch.model.mask_token import MaskToken
from nextpatch.model.names import HEADS
from nextpatch.model.orders import order_of
from nextpatch.model.patch_embed import PatchEmbed, patches_of
from nextpatch.model.start import Start, Started
from nextpatch.model.started import Generating
from nextpatch.model.trunk import Trunk

__all__ = ["AIM", "patches_of"]


class AIM(nn.Module):
    """Trunk and pixel head of AIM (sections 4.1 and 4.2) for images of any channel count and any grid.

    Images are float, "batch channels height width", already normalized by the data's mean and std. Parameters are
    undefined until `init_weights` or a checkpoint fills them. Without `pixel_head` the model gives features only; it
    has a mask token where it predicts and its objective asks for one, and a start token where its objective has one.
    """

    def __init__(self, cfg: ModelConfig, pixel_head: bool = True) -> None:
        super().__init__()
        self.cfg = cfg
        self.patch_embed = PatchEmbed(cfg)
        self.trunk = Trunk(cfg)
        self.head: Head = HEADS[cfg.head](cfg) if pixel_head else NoHead(cfg)
        self.mask_token = MaskToken(cfg) if pixel_head and cfg.mask_token else None
        self.start = Start(cfg) if cfg.start_token else None
        self.paper_head = PaperHead(cfg) if pixel_head and cfg.paper_loss else None  # last: nothing begins otherwise
        self._order: tuple[ModelConfig, Tensor | None] | None = None

    def resize(self, img_size: tuple[int, int]) -> None:
        """Take images of another size, (height, width) in pixels: positions are computed, so nothing else changes."""
        self.cfg = self.cfg.resized(img_size)
        for module in self.modules():
            if isinstance(module, HasGrid):
                module.set_grid(self.cfg.grid)

    def layer_names(self) -> list[str]:
        """Every name that `features` knows, in order of depth."""
        return self.trunk.layer_names()

    def order(self) -> Int[Tensor, " patches"] | None:
        """The raster index of each patch of the sequence, on the CPU; None for raster order.

        It is found once for a grid: a graph that is traced cannot do so.
        """
        if self._order is None or self._order[0] != self.cfg:
            self._order = self.cfg, order_of(self.cfg)
        return self._order[1]

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        mode: Mode = "bidirectional",
        prefix_len: Int[Tensor, " batch"] | None = None,
        layers: Sequence[str] = ("post_trunk_norm",),
    ) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """Named features in raster order; downstream use is bidirectional (section 4.2).

        The other modes follow the model's order: a patch sees those before it in the SEQUENCE, whose first places
        `prefix_len` counts. A start token stands before them, without a class, and gives no feature. Raises UserError
        for an unknown layer.
        """
        known = self.layer_names()
        if unknown := [name for name in layers if name not in known]:
            raise UserError(f"no layer {', '.join(unknown)}; this model has {', '.join(known)}")
        patches, order = patches_of(images, self.cfg), None if mode == "bidirectional" else self.order()
        if order is not None:
            order = order.to(patches.device)
            patches = patches[:, order]
        if self.start is None:
            tokens = self.patch_embed(patches, order)
        else:
            tokens = self.start.sequence(self.patch_embed, Start.whole(patches, order, self.start.around(images)))
            prefix_len = None if prefix_len is None else prefix_len + 1
        mask = attention_mask(mode, prefix_len, tokens.shape[1], tokens.device)
        found: dict[str, Tensor] = self.trunk(tokens, mask, layers)
        if self.start is not None:
            found = {name: values[:, 1:] for name, values in found.items()}
        return found if order is None else {name: values[:, order.argsort()] for name, values in found.items()}

    def features(
        self, images: Tensor, layers: Sequence[str], mode: Mode = "bidirectional", prefix_len: Tensor | None = None
    ) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """`forward`, for callers who always name their layers."""
        return self.forward(images, mode, prefix_len, layers)

    def predict(
        self,
        patches: Float[Tensor, "batch length values"],
        mask: Float[Tensor, "#batch 1 length length"] | None,
        position: Int[Tensor, " length"] | None = None,
        target_position: Int[Tensor, " length"] | None = None,
        masked: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch length outputs"]:
        """The head's outputs at every place of a sequence of patches; `mask` says what each may attend to.

        `position`: the raster places of the patches (default 0, 1, 2 ...); `target_position`: those of the patches that
        the outputs are for (default: the next in raster order). `masked`: which tokens are the mask token.
        """
        here, there = self._places(patches.shape[1], position, target_position, patches.device)
        if masked is None:
            tokens = self.patch_embed(patches, position)
        else:
            tokens = self._mask_token()(self.patch_embed, patches, masked, position)
        features = self.trunk(tokens, mask)["post_trunk_norm"]
        out: Tensor = self.head(features, here, there, image_of(features), mask)
        return out

    def predict_rows(
        self,
        patches: Float[Tensor, "batch length values"],
        mask: Tensor | None,
        rows: Rows,
        position: Int[Tensor, " length"] | None = None,
        target_position: Int[Tensor, " length"] | None = None,
        masked: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "rows outputs"]:
        """The same at `rows` alone, packed: all that is computed for them and for nothing else.

        A head that needs whole sequences gets the features of all tokens, and computes what the rows need.
        """
        hidden = self._hidden_rows(patches, mask, rows, position, target_position, masked)
        out: Tensor = self.head.pred(hidden)
        return out

    def loss_rows(
        self,
        loss: Callable[[Float[Tensor, "rows width"], nn.Linear], Float[Tensor, ""]],
        patches: Float[Tensor, "batch length values"],
        mask: Tensor | None,
        rows: Rows,
        position: Int[Tensor, " length"] | None = None,
        target_position: Int[Tensor, " length"] | None = None,
        masked: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, ""]:
        """A loss of what `predict_rows` gives, made from what the last layer gets and from that layer."""
        hidden = self._hidden_rows(patches, mask, rows, position, target_position, masked)
        assert isinstance(self.head.pred, nn.Linear)
        return loss(hidden, self.head.pred)

    def _hidden_rows(
        self, patches: Tensor, mask: Tensor | None, rows: Rows, position: Tensor | None,
        target_position: Tensor | None, masked: Tensor | None,
    ) -> Float[Tensor, "rows width"]:  # fmt: skip
        """What the head's last layer gets at `rows`."""
        here, there = self._places(patches.shape[1], position, target_position, patches.device)
        if masked is None:
            tokens = self.patch_embed(patches, position)
        else:
            tokens = self._mask_token().packed(self.patch_embed, patches, masked, position)
        return self._hidden_at(tokens, mask, rows, here, there)

    def around(self, images: Float[Tensor, "batch channels height width"]) -> Tensor | None:
        """As `Start.around`; None without a start token."""
        return None if self.start is None else self.start.around(images)

    def start_tokens(
        self, labels: Int[Tensor, " batch"] | None, batch: int, first_target: Int[Tensor, "#batch"] | None = None,
        around: Float[Tensor, "batch 1 around"] | None = None,
    ) -> Float[Tensor, "batch 1 dim"]:  # fmt: skip
        """The start token of each image: see `Start.first`. UserError for weights without one."""
        return self._start().first(self.patch_embed, labels, batch, first_target, around)

    def patch_tokens(
        self,
        patches: Float[Tensor, "batch length values"],
        position: Int[Tensor, "*#batch length"] | None = None,
        target_position: Int[Tensor, "*#batch length"] | None = None,
        around: Float[Tensor, "batch length around"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """The tokens of patches behind the start token: see `Start.then`. UserError for weights without one."""
        return self._start().then(self.patch_embed, patches, position, target_position, around)

    def condition(
        self, features: Float[Tensor, "*rows dim"], target_position: Int[Tensor, "*#rows"],
        around: Float[Tensor, "*rows around"] | None = None,
    ) -> Float[Tensor, "*rows width"]:  # fmt: skip
        """What the head's last layer gets, or a head that is a distribution, from features behind a start token: the
        head knows the places of the patches to come, and no others, and `around`, their neighborhoods in a
        low-resolution image. For heads that take each row by itself.
        """
        features = self._start().told(features, around)
        return self.head.hidden(features, target_position, target_position, torch.zeros_like(target_position))

    def of_head(self, compute: Callable[[Head], Tensor]) -> Tensor:
        """What `compute` makes of the head, by which alone a distribution has losses and samples."""
        return compute(self.head)

    def generate(self, started: Started, mask: Tensor | None) -> Float[Tensor, "batch tokens outputs"]:
        """The heads' outputs at every token of started sequences, each for the patch that comes next."""
        return self._generating().everywhere(started, mask)

    def generate_rows(
        self,
        loss: Callable[[Float[Tensor, "rows width"], Head], Float[Tensor, ""]],
        started: Started,
        mask: Tensor | None,
        rows: Rows,
        paper_loss: Callable[[Float[Tensor, "rows values"]], Float[Tensor, ""]] | None = None,
    ) -> Float[Tensor, ""]:
        """A loss of what the head's last layer gets at `rows` of started sequences, packed, and of the head; plus the
        `paper_loss` of the outputs of a paper's head beside it.
        """
        return self._generating().at_rows(loss, started, mask, rows, paper_loss)

    def _generating(self) -> Generating:
        return Generating(self.patch_embed, self._start(), self.trunk, self.head, self.paper_head)

    def _hidden_at(self, tokens: Tensor, mask: Tensor | None, rows: Rows, here: Tensor, there: Tensor) -> Tensor:
        if self.head.packed:
            return self.head.hidden(self.trunk.rows(tokens, mask, rows), rows.of(here), rows.of(there), rows.image)
        features = self.trunk(tokens, mask)["post_trunk_norm"]
        return self.head.hidden_rows(features, here, there, image_of(features), mask, rows)

    def _start(self) -> Start:
        if self.start is None:
            raise UserError("these weights have no start token, so they cannot begin an image: train to generate")
        return self.start

    def _mask_token(self) -> MaskToken:
        """UserError for weights without one."""
        if self.mask_token is None:
            raise UserError("these weights have no mask token, so they cannot predict masked patches")
        return self.mask_token

    def _places(
        self, length: int, position: Tensor | None, target_position: Tensor | None, device: torch.device
    ) -> tuple[Int[Tensor, " length"], Int[Tensor, " length"]]:
        """Raster places of inputs and targets; behind the last place there is none, and its output is for nothing."""
        here = torch.arange(length, device=device) if position is None else position
        after = torch.arange(1, length + 1, device=device).clamp(max=self.cfg.num_patches - 1)
        return here, after if target_position is None else target_position
