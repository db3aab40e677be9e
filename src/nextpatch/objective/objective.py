"""The seam between a model and everything that trains, measures, draws or examines it: what is predicted from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Objective(Protocol):
    """A pre-training objective: all that the loop, validation, report, preview and check know of one.

    Shapes: `images` are float, "batch channels height width", normalized; a place is one of the K of the sequence.
    """

    unit: str  # of the loss, in words: "squared error", "nats"
    places: range  # those that can be scored, one for each entry of `scored` and `position_losses`

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """A pure function of the seed and each sample's position in the run."""
        ...

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """Where the loss is measured. Its number over the GLOBAL batch is the loss's denominator."""
        ...

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """The places that are shown as known: what a picture of the task leaves visible."""
        ...

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """The sum of the losses at all scored places; computes nothing else."""
        ...

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The loss at every place, 0 where it is not scored; float32 or wider."""
        ...

    def baseline(self) -> AIM:
        """In a model's place: what guessing gives, without a look at the image."""
        ...


def scored_count(objective: Objective, draws: Draws) -> int:
    """Scored places of a batch: summed over the global batch, the loss's denominator."""
    return int(objective.scored(draws).sum())
