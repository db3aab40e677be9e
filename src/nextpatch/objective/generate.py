"""The objective of generation: every patch of the sequence, the first one too, given a start token and those before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.attention import Rows, attention_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.noise import Noise
from nextpatch.model.orders import order_of
from nextpatch.model.start import Started
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.generate_draws import KNOWN, LABEL, NOISE, ORDER, UNLABELLED, drawn, examples, shown
from nextpatch.objective.generate_words import generate_words
from nextpatch.objective.goal import goal_of
from nextpatch.objective.objective import Draws, Fill, Words
from nextpatch.objective.targets.beside import BesidePaper


class Generate:
    """Each patch of the sequence that is not known, from a start token and all patches before it.

    Places are the turns of the sequence: output p, of token p, is for patch p of the order; token 0 is the start. With
    prefix attention the start token and the first S patches, which are known, see each other.
    """

    start_token: ClassVar[bool] = True

    def __init__(self, cfg: ModelConfig) -> None:
        count = cfg.num_patches
        self.cfg = cfg
        self.places = range(count)
        self.tokens = count  # the start token, and none for the last patch, which nothing follows
        self.embedded = count - 1
        self.mean_scored = (count + 1) / 2 if cfg.attention == "prefix" else float(count)
        self.goal = goal_of(cfg)
        self.unit = self.goal.unit
        self._order = order_of(cfg)

    @cached_property
    def words(self) -> Words:
        """The objective and its target in words."""
        return generate_words(self.cfg, self.goal.words)

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """How many patches are known; their order, the noise and whether the class is told, where these are drawn."""
        return drawn(self.cfg, seed, positions)

    def labelled(self, draws: Draws, labels: Int[Tensor, " batch"]) -> Draws:
        """With the classes of the images (-1: none), but for those whose class is not told; nothing without classes."""
        if not self.cfg.classes:
            return draws
        return Draws({**draws, LABEL: labels.where(~draws[UNLABELLED].to(labels.device), -1)})

    def examples(self) -> Draws:
        """Nothing known, a third, a half, all but one; in orders of their own where there are such."""
        return examples(self.cfg)

    def showcase(self, batch: int) -> Draws:
        """The upper half of the rows is known, or half of a single row; in raster order where orders are drawn."""
        return shown(self.cfg, batch)

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """True for all that are not known."""
        place = torch.arange(self.cfg.num_patches, device=draws[KNOWN].device)
        return place >= draws[KNOWN][:, None]

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """True for the first patches of the order, which are known."""
        return self._turn(draws) < draws[KNOWN][:, None].cpu()

    def predicts(self, draws: Draws) -> Int[Tensor, "batch places"]:
        """The patches in their order."""
        return self._sequence(draws)

    def may_see(self, draws: Draws) -> Bool[Tensor, "batch places patches"]:
        """All before it in the order, and with prefix attention all that are known."""
        place = torch.arange(self.cfg.num_patches)
        before = self._turn(draws)[:, None] < place[:, None]
        return before if self.cfg.attention == "causal" else before | self.given(draws)[:, None]

    def told(self, draws: Draws) -> list[str]:
        """How many are known, and where an order of its own begins."""
        return [
            f"{known or 'no'} known patch{'' if known == 1 else 'es'}"
            + (f", in an order that begins with patch {order[0]}" if ORDER in draws else "")
            for known, order in zip(draws[KNOWN].tolist(), self._sequence(draws).tolist(), strict=True)
        ]

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """Sum of the losses of patches that are not known: divide by their number in the GLOBAL batch.

        Computes only what that sum needs: no token for the last patch; the last block's queries, projection and MLP,
        and the head, only at scored places, packed.
        """
        rows = Rows(self.scored(draws)).to(images.device)
        chosen = self._chosen(images, draws, rows)
        wanted, noise = self.goal.wanted(chosen), self._noise(draws, images.device, rows)
        return model.generate_rows(
            lambda hidden, head: self.goal.loss_sum(hidden, head, wanted, noise),
            self._started(chosen.all_patches, draws, model.around(images)), self._mask(draws, images.device), rows,
            self._beside(chosen),
        )  # fmt: skip

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The plain formulation: the loss at every place, 0 where the patch is known."""
        return self.score(model, self.predict(model, images, draws), images, draws)

    def place_values(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> dict[str, Float[Tensor, "batch places"]]:
        """The losses, and what the target tells beside them."""
        predicted, wanted = self.predict(model, images, draws), self.wanted(images)
        scored = self.scored(draws).to(predicted.device)
        losses = self._losses(model, predicted, wanted, draws)
        beside = self.goal.beside(predicted, self._in_order(wanted, draws))
        return {"loss": losses, **{name: values * scored for name, values in beside.items()}}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """As the target says."""
        return self.goal.figures(loss, means)

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places outputs"]:
        """The head's outputs at every place; of a head that is a distribution, the condition, and behind it the outputs
        of a paper's head beside it.
        """
        started = self._started(patches_of(images, self.cfg), draws, model.around(images))
        return model.generate(started, self._mask(draws, images.device))

    def wanted(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The target of every patch."""
        return self.goal.wanted(Chosen.every(images, self.cfg))

    def compare(
        self, predicted: Float[Tensor, "batch places outputs"], wanted: Tensor, draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """Output p against patch p of the order. TypeError where only the weights know how: see `score`."""
        return self._losses(None, predicted, wanted, draws)

    def score(
        self,
        model: AIM,
        predicted: Float[Tensor, "batch places outputs"],
        images: Float[Tensor, "batch channels height width"],
        draws: Draws,
    ) -> Float[Tensor, "batch places"]:
        """The losses of given outputs, by the head where it is a distribution."""
        return self._losses(model, predicted, self.wanted(images), draws)

    def baseline(self) -> AIM:
        """The target's guess everywhere."""
        return self.goal.baseline()

    def target(
        self, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """The patches that are not known as perfect outputs show them."""
        chosen = self._chosen(images, draws, Rows(self.scored(draws)).to(images.device))
        return chosen.painted(self.goal.perfect(chosen, fill), self.cfg)

    def complete(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Each patch that is not known, predicted, or drawn, one step ahead from all TRUE patches before it."""
        rows = Rows(self.scored(draws)).to(images.device)
        chosen = self._chosen(images, draws, rows)
        outputs = self.predict(model, images, draws).float().flatten(0, 1).index_select(0, rows.flat)
        noise = self._noise(draws, images.device, rows)
        return chosen.painted(self.goal.pixels(model, outputs, chosen, fill, noise), self.cfg)

    def _losses(self, model: AIM | None, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        noise = self._noise(draws, predicted.device)
        losses = self.goal.losses(model, predicted, self._in_order(wanted, draws), noise)
        return losses * self.scored(draws).to(losses.device)

    def _beside(self, chosen: Chosen) -> Callable[[Tensor], Tensor] | None:
        """The paper's loss of what its head gives for these patches, where the model has both."""
        return partial(self.goal.paper_loss_sum, wanted=chosen.patches) if isinstance(self.goal, BesidePaper) else None

    def _chosen(self, images: Tensor, draws: Draws, rows: Rows) -> Chosen:
        """The patches that `rows` of places are for."""
        place = self._sequence(draws).to(images.device).flatten()[rows.flat]
        return Chosen(images, patches_of(images, self.cfg), rows.image * self.cfg.num_patches + place)

    def _started(self, patches: Tensor, draws: Draws, around: Tensor | None) -> Started:
        """Of patches in raster order, with their neighborhoods in the low-resolution image."""
        place = self._sequence(draws) if ORDER in draws else self._sequence(draws)[0]
        return Started(self._in_order(patches, draws)[:, :-1], place.to(patches.device), draws.get(LABEL), around)

    def _mask(self, draws: Draws, device: torch.device) -> Tensor | None:
        """With the start token in the prefix."""
        return attention_mask(self.cfg.attention, draws[KNOWN] + 1, self.tokens, device)

    def _noise(self, draws: Draws, device: torch.device, rows: Rows | None = None) -> Noise | None:
        """At every place, or at `rows`; None where nothing of the loss is chance."""
        if NOISE not in draws:
            return None
        place = self._sequence(draws)
        seed = draws[NOISE].to(place.device)[:, None].expand_as(place)
        both = (values.to(device).flatten() for values in (seed, place))
        return Noise(*both) if rows is None else Noise(*(values[rows.flat] for values in both))

    def _in_order(self, of_patches: Tensor, draws: Draws) -> Tensor:
        """What is known of every patch, "batch patches *more", from raster order into that of the sequence."""
        if ORDER in draws:
            order = draws[ORDER].to(of_patches.device)
            return of_patches[torch.arange(len(order), device=order.device)[:, None], order]
        return of_patches if self._order is None else of_patches[:, self._order.to(of_patches.device)]

    def _sequence(self, draws: Draws) -> Int[Tensor, "batch patches"]:
        """The raster index of each patch of each sequence, on the CPU."""
        if ORDER in draws:
            return draws[ORDER].cpu()
        order = torch.arange(self.cfg.num_patches) if self._order is None else self._order
        return order.expand(draws.batch_size, -1)

    def _turn(self, draws: Draws) -> Int[Tensor, "batch patches"]:
        """The place in the sequence of each patch in raster order."""
        return self._sequence(draws).argsort(dim=1)
