"""The interface of an objective, for all that trains, measures, draws or checks it: what is predicted from what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nextpatch.model.aim import AIM


class Draws(Mapping[str, Tensor]):
    """What chance decides for each sample of a batch, by name; the first axis of every tensor is the batch.

    Which names there are is the objective's: prefix lengths, masked places, seeds of noise.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        if len({len(tensor) for tensor in values.values()}) != 1:
            raise ValueError("draws are one entry for each sample of a batch, under every name")
        self._values = dict(values)

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        """How many names; `batch_size` is how many samples."""
        return len(self._values)

    @property
    def batch_size(self) -> int:
        """How many samples."""
        return len(next(iter(self._values.values())))

    def part(self, start: int, stop: int) -> Draws:
        """Those of some of the samples."""
        return Draws({name: tensor[start:stop] for name, tensor in self._values.items()})


@dataclass(frozen=True)
class Words:
    """An objective in words. Each value completes the sentence beside it, in captions, pages and verdicts."""

    name: str  # "this is not ..."
    promise: str  # "all proofs hold: it ..."
    does: str  # "the model predicts ..."
    target: str  # "a scored prediction is compared with exactly one patch, and it is ..."
    hidden: str  # "no scored prediction sees ..."
    visible: str  # "every prediction sees ..."
    scored: str  # "exactly ... are scored, once each"
    unscored: str  # a whole sentence: what the outputs see that are not scored
    copying: str  # "it is compared with a patch that it may see: ..." the likely cause
    leaking: str  # "it sees a patch that it may not see: ..." the likely cause
    shaded: str  # "Shaded: ..." in a picture of the task, what is given
    predicted: str  # "Target: ..."
    completed: str  # a whole sentence: what each predicted patch of a completion is made from
    by_place: str  # "validation loss at each position: ..." how to read it
    left_out: str  # "the target does not contain a patch's ..."; empty where nothing is missing
    guess: str  # "the dotted line is the loss of ...": the baseline
    inverted: str = "the attention mask is inverted"  # "it sees what it may not and not what it may: ..." the cause


@dataclass(frozen=True)
class Fill:
    """What a picture gets where the target leaves something out: a mean and a deviation, in the unit of the images."""

    mean: Float[Tensor, " channels"]
    deviation: Float[Tensor, " channels"]


@runtime_checkable
class Claims(Protocol):
    """What is predicted from what, told without a model: all that the proofs of `check` hold an implementation to.

    Patches are counted in raster order, from 0. A place is a step of the sequence, whatever its order; the p-th row of
    a model's predictions is the p-th of the places.
    """

    places: range  # those that can be scored, one for each entry of `scored` and `position_losses`

    @property
    def words(self) -> Words:
        """The objective and its target in words."""
        ...

    def examples(self) -> Draws:
        """A few draws, the extremes among them, for proofs to be tried with."""
        ...

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """Where the loss is measured. Its number over the GLOBAL batch is the loss's denominator."""
        ...

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """The patches that are shown as known: what a picture of the task leaves visible. None of them is scored."""
        ...

    def predicts(self, draws: Draws) -> Int[Tensor, "batch places"]:
        """Which patch each place is compared with where it is scored: through its pixels, its code or its noise."""
        ...

    def may_see(self, draws: Draws) -> Bool[Tensor, "batch places patches"]:
        """Which patches the prediction at each place depends on, scored or not: these and no others."""
        ...

    def told(self, draws: Draws) -> list[str]:
        """What was drawn for each sample, in words: "a prefix of 5 patches"."""
        ...


@runtime_checkable
class Objective(Claims, Protocol):
    """A pre-training objective: all that the loop, validation, report, preview and check know of one.

    `images` are float, "batch channels height width", normalized by the data's mean and deviation.
    """

    unit: str  # of the loss, in words: "squared error", "nats"
    tokens: int  # of an image that the trunk computes for the loss
    mean_scored: float  # places of an image, over many draws

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """A pure function of the seed and each sample's position in the run."""
        ...

    def showcase(self, batch: int) -> Draws:
        """The same draw for every sample, for pictures: about half of each image is given."""
        ...

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """The sum of the losses at all scored places; computes nothing else."""
        ...

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The loss at every place, 0 where it is not scored; float32 or wider: `score` of `predict`."""
        ...

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch outputs values"]:
        """The prediction at each place, from the patches that it may see: pixels, logits, or a condition to sample by.

        A row for each place; rows beyond the places are for nothing.
        """
        ...

    def wanted(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        """What predictions are compared with, of every patch, raster: values or codes, "batch patches *more"."""
        ...

    def compare(
        self, predicted: Float[Tensor, "batch outputs values"], wanted: Tensor, draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The losses of given predictions against what is `wanted` of every patch, 0 where they are not scored."""
        ...

    def score(
        self,
        model: AIM,
        predicted: Float[Tensor, "batch outputs values"],
        images: Float[Tensor, "batch channels height width"],
        draws: Draws,
    ) -> Float[Tensor, "batch places"]:
        """The losses of given predictions; `images` serve only as targets: `compare` with `wanted`."""
        ...

    def baseline(self) -> AIM:
        """A model that outputs the same constant for every image; its loss is what the loss is compared with."""
        ...

    def target(
        self, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """The images with each scored patch as a perfect prediction would have it.

        What the target leaves out comes from `fill`, or, without it, from the true patch.
        """
        ...

    def complete(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """The images with each scored patch as the model predicts it; what the target leaves out as in `target`."""
        ...


@runtime_checkable
class MeasuresMore(Protocol):
    """An objective that tells more in a validation than its loss: of codes, perplexity and accuracy."""

    def place_values(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> dict[str, Float[Tensor, "batch places"]]:
        """`position_losses` under the name "loss", and further values by theirs, 0 where a place is not scored."""
        ...

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """What is told, by name, of the mean loss and of the means of the further values over scored places."""
        ...


@runtime_checkable
class ScoresSoMany(Protocol):
    """An objective that scores the same number of places in every image."""

    scored_each: int


@runtime_checkable
class EmbedsLess(Protocol):
    """An objective that embeds fewer patches of an image than its trunk has tokens: the others are the mask token."""

    embedded: int


def scored_count(claims: Claims, draws: Draws) -> int:
    """Scored places of a batch: summed over the global batch, the loss's denominator."""
    return int(claims.scored(draws).sum())


def fixed_patches(claims: Claims) -> Int[Tensor, " places"] | None:
    """The patch that each place predicts; None where it is another one in other images."""
    predicted = claims.predicts(claims.examples())
    return predicted[0] if bool((predicted == predicted[:1]).all()) else None


def scored_patches(claims: Claims, draws: Draws) -> Bool[Tensor, "batch patches"]:
    """The patches that some scored place is compared with, in raster order."""
    found = torch.zeros_like(claims.given(draws), dtype=torch.int64)
    return found.scatter_add(1, claims.predicts(draws), claims.scored(draws).long()) > 0


def grey(mean: Sequence[float], std: Sequence[float]) -> Fill:
    """Middle grey, and a quarter of the range of pixels as one deviation: two of them fill the range.

    `mean` and `std` are the data's, of pixels in [0, 1].
    """
    centre, scale = torch.tensor(mean), torch.tensor(std)
    return Fill((0.5 - centre) / scale, 0.25 / scale)
