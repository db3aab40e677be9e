"""Training of our discrete autoencoder: gradients go straight through the choice of the nearest code.

First the networks learn alone, then the codes are drawn among their vectors, and all learn together. Gumbel softmax in
its place left most codes unused (docs/log.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from nextpatch.core.random import torch_seeded
from nextpatch.tokenizer.autoencoder import Autoencoder, AutoencoderSizes
from nextpatch.tokenizer.ema_codes import MovingCodes
from nextpatch.tokenizer.exact import float32
from nextpatch.tokenizer.kmeans_start import first_centers

_ALONE = 0.1  # share of the steps before there are codes
_SETTLED = 0.15  # share of the steps, the last ones, in which no code is begun anew
_COMMITMENT = 0.25  # weight of the distance of vectors to their codes; source: van den Oord et al., equation 3
_WARMUP = 50  # steps
_DRAWN_FROM = 8  # vectors for each code, from which the first codes are drawn


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rate."""

    steps: int
    lr: float

    @property
    def alone(self) -> int:
        """Steps of the networks without codes."""
        return max(1, round(_ALONE * self.steps))

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to 0."""
        return self.lr * min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def begins_anew(self, step: int) -> bool:
        """Whether dead codes are begun anew."""
        return step < (1 - _SETTLED) * self.steps


class AutoencoderFit:
    """An autoencoder in training. Equal seeds give equal values, on one machine with one number of threads."""

    def __init__(
        self, sizes: AutoencoderSizes, codes: int, schedule: Schedule, seed: int, device: torch.device
    ) -> None:
        with torch_seeded(seed):
            self.networks = Autoencoder(sizes).to(device)
        self.codes: MovingCodes | None = None
        self.error = math.nan  # mean squared error of the last step
        self._count, self._schedule, self._seed = codes, schedule, seed
        self._optimizer = torch.optim.Adam(self.networks.parameters())
        self._recent: list[Float[Tensor, "rows values"]] = []

    def step(self, images: Float[Tensor, "batch channels height width"], number: int) -> None:
        """One update."""
        with float32(images.device):
            vectors = self.networks.encoder(images)
            passed, commitment = self._quantized(vectors, number)
            error = mse_loss(self.networks.decoder(passed), images)
            self._optimizer.zero_grad()
            torch.autograd.backward(error + _COMMITMENT * commitment)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.lr_at(number)
        self._optimizer.step()
        self.error = float(error.detach())

    def _quantized(self, vectors: Float[Tensor, "batch rows columns values"], number: int) -> tuple[Tensor, Tensor]:
        """(what the decoder gets, whose gradient goes on to the vectors; mean square of what parts them from codes)."""
        rows = vectors.detach().flatten(0, 2)
        if number < self._schedule.alone:
            self._remember(rows)
            return vectors, vectors.new_zeros(())
        if self.codes is None:
            self.codes = MovingCodes(first_centers(torch.cat(self._recent), self._count, self._seed), self._seed)
            self._recent.clear()
        chosen = self.codes.follow(rows, self._schedule.begins_anew(number)).view_as(vectors)
        return vectors + (chosen - vectors).detach(), mse_loss(vectors, chosen)

    def _remember(self, rows: Float[Tensor, "rows values"]) -> None:
        self._recent.append(rows)
        while sum(map(len, self._recent[1:])) >= _DRAWN_FROM * self._count:
            del self._recent[0]
