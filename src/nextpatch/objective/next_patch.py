"""The paper's objective: each patch after a drawn prefix from all patches before it (sections 4.1 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.attention import Rows, attention_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.orders import order_of
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.goal import ByTarget
from nextpatch.objective.next_patch_words import next_patch_words
from nextpatch.objective.objective import Draws, Fill, Words
from nextpatch.objective.targets.loss import rows_loss
from nextpatch.objective.targets.target import TellsMore

PREFIX_LEN = "prefix_len"


class NextPatch:
    """Prediction of the next patch of the sequence, scored after the prefix; the paper's with raster order.

    Output i of the model is for patch i + 1 of the sequence; the last one is for nothing.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.places = range(1, cfg.num_patches)
        self.tokens = cfg.num_patches - 1  # none for the last patch, which no scored prediction may see
        # S is uniform on 1 .. K-1, which leaves K/2 on average; causal scores all K - 1
        self.mean_scored = cfg.num_patches / 2 if cfg.attention == "prefix" else cfg.num_patches - 1
        self.goal = ByTarget(cfg)
        self.unit = self.goal.unit
        self._order = order_of(cfg)

    @cached_property
    def words(self) -> Words:
        """The objective and its target in words."""
        return next_patch_words(self.cfg, self.goal.words)

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """Prefix lengths S; causal pre-training (Table 3d) always scores from S = 1."""
        if self.cfg.attention == "causal":
            return with_prefix(torch.ones_like(positions))
        return with_prefix(draw_prefix(seed, positions, self.cfg.num_patches))

    def examples(self) -> Draws:
        """Prefix lengths 1, a third, a half and K - 1."""
        count = self.cfg.num_patches
        return with_prefix(torch.tensor(sorted({1, max(1, count // 3), max(1, count // 2), count - 1})))

    def showcase(self, batch: int) -> Draws:
        """A prefix as long as the upper half of the rows, or as half of a single row."""
        rows, columns = self.cfg.grid
        return with_prefix(torch.full((batch,), max(1, rows // 2 * columns if rows > 1 else columns // 2)))

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """True for the patches after the prefix."""
        return scored_mask(draws[PREFIX_LEN], self.cfg.num_patches)

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """True inside the prefix."""
        return self._turn() < draws[PREFIX_LEN][:, None].cpu()

    def predicts(self, draws: Draws) -> Int[Tensor, "batch places"]:
        """The next patch of the sequence."""
        return self._sequence()[1:].expand(draws.batch_size, -1)

    def may_see(self, draws: Draws) -> Bool[Tensor, "batch places patches"]:
        """All before the next patch, and with prefix attention the whole prefix (Figure 3)."""
        place = torch.arange(1, self.cfg.num_patches)
        before = (self._turn() < place[:, None]).expand(draws.batch_size, -1, -1)
        return before if self.cfg.attention == "causal" else before | self.given(draws)[:, None]

    def told(self, draws: Draws) -> list[str]:
        """The prefix lengths."""
        return [f"a prefix of {n} patch{'es' if n > 1 else ''}" for n in draws[PREFIX_LEN].tolist()]

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """Sum of the losses of scored patches: divide by their number in the GLOBAL batch.

        Computes only what that sum needs: no token for the last patch, which no scored prediction may see; the last
        block's queries, projection and MLP, and the head, only at scored positions, packed. Section 4.1, equation 2;
        the paper writes a sum over all K patches, its text (and this) scores those after the prefix.
        """
        rows = Rows(self.scored(draws)).to(images.device)
        chosen = self._chosen(images, rows)
        patches, mask = self._in_sequence(chosen.all_patches)[:, :-1], self._mask(draws, self.tokens, images.device)
        positions = self._positions(self.tokens, images.device)
        return rows_loss(self.goal.target, model, self.goal.wanted(chosen), patches, mask, rows, *positions)

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The plain formulation: the loss of the prediction of patch i + 1 at entry i, 0 in the prefix."""
        return self.score(model, self.predict(model, images, draws), images, draws)

    def place_values(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> dict[str, Float[Tensor, "batch places"]]:
        """The losses, and what the target tells beside them."""
        if not isinstance(self.goal.target, TellsMore):
            return {"loss": self.position_losses(model, images, draws)}
        predicted, wanted = self.predict(model, images, draws), self.wanted(images)
        losses = self.compare(predicted, wanted, draws)
        beside = self.goal.beside(predicted[:, :-1], self._in_sequence(wanted)[:, 1:])
        scored = self.scored(draws).to(losses.device)
        return {"loss": losses, **{name: values * scored for name, values in beside.items()}}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """As the target says."""
        return self.goal.figures(loss, means)

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch patches outputs"]:
        """Outputs at every place: output i is for patch i + 1 of the sequence, the last one for nothing."""
        patches = self._in_sequence(patches_of(images, self.cfg))
        mask = self._mask(draws, patches.shape[1], images.device)
        return model.predict(patches, mask, *self._positions(patches.shape[1], images.device))

    def wanted(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The target of every patch, the first included, which is never scored."""
        return self.goal.wanted(Chosen.every(images, self.cfg))

    def compare(
        self, predicted: Float[Tensor, "batch patches outputs"], wanted: Tensor, draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """Output i against patch i + 1 of the sequence (section 4.1)."""
        losses = self.goal.target.losses(predicted[:, :-1], self._in_sequence(wanted)[:, 1:])
        return losses * self.scored(draws).to(losses.device)

    def score(
        self,
        model: AIM,
        predicted: Float[Tensor, "batch patches outputs"],
        images: Float[Tensor, "batch channels height width"],
        draws: Draws,
    ) -> Float[Tensor, "batch places"]:
        """The losses of given outputs. No model needed."""
        return self.compare(predicted, self.wanted(images), draws)

    def baseline(self) -> AIM:
        """The target's guess everywhere."""
        return self.goal.baseline()

    def target(
        self, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """The patches after the prefix as perfect outputs show them, with what these leave out from `fill`."""
        chosen = self._chosen(images, Rows(self.scored(draws)).to(images.device))
        return chosen.painted(self.goal.perfect(chosen, fill), self.cfg)

    def complete(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Each patch after the prefix as predicted one step ahead from all TRUE patches before it."""
        outputs = self.predict(model, images, draws)[:, :-1].float().flatten(0, 1)
        rows = Rows(self.scored(draws)).to(images.device)
        chosen = self._chosen(images, rows)
        pixels = self.goal.pixels(model, outputs.index_select(0, rows.flat), chosen, fill, None)
        return chosen.painted(pixels, self.cfg)

    def _chosen(self, images: Tensor, rows: Rows) -> Chosen:
        """The patches that `rows` of places are compared with."""
        after = self._sequence().to(images.device)[1:]
        index = rows.image * self.cfg.num_patches + after[rows.position]
        return Chosen(images, patches_of(images, self.cfg), index)

    def _mask(self, draws: Draws, length: int, device: torch.device) -> Tensor | None:
        return attention_mask(self.cfg.attention, draws[PREFIX_LEN], length, device)

    def _in_sequence(self, of_patches: Tensor) -> Tensor:
        """What is known of every patch, "batch patches *more", from raster order into that of the sequence."""
        return of_patches if self._order is None else of_patches[:, self._order.to(of_patches.device)]

    def _positions(self, length: int, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """Raster places of the first `length` patches of the sequence, and of those after each; None for raster."""
        if self._order is None:
            return None, None
        order = self._order.to(device)
        return order[:length], torch.cat([order[1:], order[-1:]])[:length]

    def _sequence(self) -> Int[Tensor, " patches"]:
        """The raster index of each patch of the sequence."""
        return torch.arange(self.cfg.num_patches) if self._order is None else self._order

    def _turn(self) -> Int[Tensor, " patches"]:
        """The place in the sequence of each patch in raster order."""
        return self._sequence().argsort()


def with_prefix(prefix_len: Int[Tensor, " batch"]) -> Draws:
    """Draws with these prefix lengths, for who chooses them."""
    return Draws({PREFIX_LEN: prefix_len})


def draw_prefix(seed: int, positions: Int[Tensor, " batch"], num_patches: int) -> Int[Tensor, " batch"]:
    """Prefix lengths S, uniform on 1 .. K-1: a pure function of (seed, position of the sample in the run).

    The same position gives the same S in any batch, worker, process or resumed run. Source: section 4.2.
    """
    draws = [rng_at(seed, Stream.PREFIX, position).integers(1, num_patches) for position in positions.tolist()]
    return torch.tensor(draws, dtype=torch.int64)


def scored_mask(prefix_len: Int[Tensor, " batch"], num_patches: int) -> Bool[Tensor, "batch outputs"]:
    """True at output i (0 .. K-2) when its prediction, patch i+1, is scored: i >= S-1, so never in the prefix."""
    if bool((prefix_len < 1).any()) or bool((prefix_len >= num_patches).any()):
        raise UserError(f"prefix lengths must be in 1 .. {num_patches - 1}, got {prefix_len.tolist()}")
    outputs = torch.arange(num_patches - 1, device=prefix_len.device)
    return outputs >= prefix_len[:, None] - 1
