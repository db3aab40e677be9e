"""The masked objective: hidden patches from all that are not hidden, the baseline of the paper's Table 5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.attention import Rows
from nextpatch.model.config import ModelConfig
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.goal import ByTarget
from nextpatch.objective.masked_words import masked_words
from nextpatch.objective.objective import Draws, Fill, Words
from nextpatch.objective.targets.loss import rows_loss
from nextpatch.objective.targets.target import TellsMore

MASKED = "masked"


class Masked:
    """Prediction of masked patches; places are the patches in raster order.

    The tokens of masked patches are the mask token, attention is bidirectional over all tokens, and the output at each
    masked place is for the patch that was there: only the objective differs from the paper's own.
    """

    mask_token: ClassVar[bool] = True

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.places = range(cfg.num_patches)
        self.tokens = cfg.num_patches
        self.scored_each = cfg.num_masked
        self.embedded = cfg.num_patches - cfg.num_masked
        self.mean_scored = float(cfg.num_masked)
        self.goal = ByTarget(cfg)
        self.unit = self.goal.unit

    @cached_property
    def words(self) -> Words:
        """The objective and its target in words."""
        return masked_words(self.goal.words)

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """Which patches are masked: the same number in each image, all sets of so many equally likely."""
        return with_masked(draw_masked(seed, positions, self.cfg.num_patches, self.scored_each))

    def examples(self) -> Draws:
        """The first patches, the last ones, and two drawn sets."""
        place = torch.arange(self.cfg.num_patches)
        ends = torch.stack([place < self.scored_each, place >= self.embedded])
        return with_masked(torch.cat([ends, self.draw(0, torch.arange(2))[MASKED]]))

    def showcase(self, batch: int) -> Draws:
        """One drawn set."""
        return self.draw(0, torch.zeros(batch, dtype=torch.int64))

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """True for masked patches."""
        return draws[MASKED]

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """True for the others."""
        return ~draws[MASKED].cpu()

    def predicts(self, draws: Draws) -> Int[Tensor, "batch places"]:
        """The patch at the same place."""
        return torch.arange(self.cfg.num_patches).expand(draws.batch_size, -1)

    def may_see(self, draws: Draws) -> Bool[Tensor, "batch places patches"]:
        """All that is not masked, from everywhere."""
        return self.given(draws)[:, None].expand(-1, self.cfg.num_patches, -1)

    def told(self, draws: Draws) -> list[str]:
        """How many are masked, and which is the first, so that draws can be told apart."""
        counts, first = draws[MASKED].sum(dim=1).tolist(), draws[MASKED].int().argmax(dim=1).tolist()
        return [
            f"{n} of {self.cfg.num_patches} patches masked, from patch {i} on"
            for n, i in zip(counts, first, strict=True)
        ]

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """Sum of the losses at masked places: divide by their number in the GLOBAL batch.

        Computes only what that sum needs: no embedding of masked patches; the last block's queries, projection and MLP,
        and the head, only at masked places.
        """
        rows = Rows(draws[MASKED], causal=False).to(images.device)
        chosen = self._chosen(images, rows)
        wanted, here = self.goal.wanted(chosen), self._here(images.device)
        return rows_loss(self.goal.target, model, wanted, chosen.all_patches, None, rows, here, here, draws[MASKED])

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The plain formulation: the loss of the prediction of each masked patch at its place, 0 elsewhere."""
        return self.score(model, self.predict(model, images, draws), images, draws)

    def place_values(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> dict[str, Float[Tensor, "batch places"]]:
        """The losses, and what the target tells beside them."""
        if not isinstance(self.goal.target, TellsMore):
            return {"loss": self.position_losses(model, images, draws)}
        predicted, wanted = self.predict(model, images, draws), self.wanted(images)
        losses = self.compare(predicted, wanted, draws)
        beside = self.goal.beside(predicted, wanted)
        scored = self.scored(draws).to(losses.device)
        return {"loss": losses, **{name: values * scored for name, values in beside.items()}}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """As the target says."""
        return self.goal.figures(loss, means)

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch patches outputs"]:
        """Outputs at every place, those that are not masked included."""
        here = self._here(images.device)
        return model.predict(patches_of(images, self.cfg), None, here, here, draws[MASKED])

    def wanted(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The target of every patch."""
        return self.goal.wanted(Chosen.every(images, self.cfg))

    def compare(
        self, predicted: Float[Tensor, "batch patches outputs"], wanted: Tensor, draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """Output i against patch i."""
        losses = self.goal.target.losses(predicted, wanted)
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
        """The masked patches as perfect outputs show them, with what these leave out from `fill`."""
        chosen = self._chosen(images, Rows(draws[MASKED], causal=False).to(images.device))
        return chosen.painted(self.goal.perfect(chosen, fill), self.cfg)

    def complete(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Each masked patch as predicted from those that are not."""
        rows = Rows(draws[MASKED], causal=False).to(images.device)
        outputs = self.predict(model, images, draws).float().flatten(0, 1).index_select(0, rows.flat)
        chosen = self._chosen(images, rows)
        return chosen.painted(self.goal.pixels(model, outputs, chosen, fill, None), self.cfg)

    def _chosen(self, images: Tensor, rows: Rows) -> Chosen:
        """The patches at `rows`."""
        return Chosen(images, patches_of(images, self.cfg), rows.flat)

    def _here(self, device: torch.device) -> Int[Tensor, " patches"]:
        """Every place, of inputs and targets alike."""
        return torch.arange(self.cfg.num_patches, device=device)


def with_masked(masked: Bool[Tensor, "batch patches"]) -> Draws:
    """Draws in which these patches are masked, for who chooses them."""
    return Draws({MASKED: masked})


def draw_masked(
    seed: int, positions: Int[Tensor, " batch"], num_patches: int, count: int
) -> Bool[Tensor, "batch patches"]:
    """`count` patches of each image: a pure function of (seed, position of the sample in the run).

    The patches are sorted by raw words of the generator, which NumPy promises never to change.
    """
    return torch.stack([_least(words, count) for words in _words_at(seed, positions, num_patches)])


def _words_at(seed: int, positions: Tensor, count: int) -> Iterable[np.ndarray]:
    generators = (rng_at(seed, Stream.MASK, position) for position in positions.tolist())
    return (generator.bit_generator.random_raw(count) for generator in generators)


def _least(words: np.ndarray, count: int) -> Bool[Tensor, " patches"]:
    chosen = torch.zeros(len(words), dtype=torch.bool)
    chosen[torch.from_numpy(np.argsort(words, kind="stable")[:count])] = True
    return chosen
