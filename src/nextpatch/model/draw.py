"""What a head gets to draw patches with: how they are drawn, and the random numbers of each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.core.random import Stream, rng_at


@dataclass(frozen=True)
class Draw:
    """How one patch is drawn from its distribution; each head takes what it has a use for.

    `temperature` scales the start noise of flow and diffusion, and divides logits. `steps` are those of an ODE or of a
    respaced schedule; 0 is the head's own number. `top_k` (0: all) and `top_p` are for codes. `guidance` is the scale
    by which predictions with a label are moved away from those without: 1 leaves them.
    """

    temperature: float = 1.0
    steps: int = 0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0


class RowNoise:
    """The random numbers of each row of a batch, of images by their index: a pure function of (seed, index).

    Each call gives the next numbers of every row, so that a row's do not depend on what else is in the batch. They are
    made from raw words of the generator, which NumPy promises never to change.
    """

    def __init__(self, seed: int, images: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._words = [rng_at(seed, Stream.SAMPLE, image).bit_generator for image in images]
        self._device = device

    def uniform(self, values: int) -> Float[Tensor, "rows {values}"]:
        """Uniform in (0, 1), float32: neither end is ever drawn."""
        return self._on_device(self._numbers(values, bits=23))

    def normal(self, values: int) -> Float[Tensor, "rows {values}"]:
        """Standard normal, float32 (Box and Muller's transform)."""
        half = (values + 1) // 2
        radius, angle = np.split(self._numbers(2 * half), 2, axis=1)
        radius, angle = np.sqrt(-2 * np.log(radius)), 2 * math.pi * angle
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return self._on_device(both[:, :values])

    def _numbers(self, values: int, bits: int = 32) -> np.ndarray:
        """Uniform in (0, 1), float64: the middle of one of 2^bits intervals, by the first bits of a word."""
        words = np.stack([words.random_raw(values) for words in self._words])
        return ((words >> (64 - bits)) + 0.5) / 2.0**bits

    def _on_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers.astype(np.float32)).to(self._device)
