"""Chance for rows of patches, counted instead of drawn: a row's numbers are a pure function of (seed, place, stream).

No generator and no order of drawing: the same row has the same numbers, to the last bit, in any batch, micro-batch,
rank or device. Words are splitmix64 of a counter (Steele, Lea and Flood, 2014), in int64 arithmetic that wraps. Normal
values are made of them by Box and Muller, with sums, products, quotients and roots alone, which are rounded alike
everywhere: a library's logarithm or sine is another one at the end of a vector.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float32, Int64
from torch import Tensor


def _signed(word: int) -> int:
    """64 bits as int64 has them."""
    return word - 2**64 if word >= 2**63 else word


_GOLDEN, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_STREAM = _signed(0xD1342543DE82EF95)  # odd, apart from the steps within a stream
_HALF = 2**32


class Noise:
    """Of rows, each for a patch: `seed` is its image's, `place` the raster place of the patch."""

    def __init__(self, seed: Int64[Tensor, " rows"], place: Int64[Tensor, " rows"]) -> None:
        self._key = _mixed(_mixed(seed + _GOLDEN) + place * _GOLDEN)

    def __len__(self) -> int:
        """How many rows."""
        return len(self._key)

    def uniform(self, stream: int, *shape: int) -> Float32[Tensor, "rows ..."]:
        """Values above 0 and at most 1."""
        high = (self._words(stream, math.prod(shape)) >> 32) + _HALF // 2
        return _unit(high).view(-1, *shape)

    def normal(self, stream: int, *shape: int) -> Float32[Tensor, "rows ..."]:
        """Standard normal values: two from each word."""
        count = math.prod(shape)
        words = self._words(stream, -(-count // 2))
        sine, cosine = _round(_unit(words & (_HALF - 1)))
        radius = _log(_unit(words.bitwise_right_shift_(32).add_(_HALF // 2))).mul_(-2.0).sqrt_()
        both = torch.cat([cosine.mul_(radius), sine.mul_(radius)], dim=1)
        return both[:, :count].reshape(-1, *shape)

    def _words(self, stream: int, count: int) -> Int64[Tensor, "rows {count}"]:
        steps = torch.arange(1, count + 1, device=self._key.device) * _GOLDEN
        return _mixed(_mixed(self._key + (stream + 1) * _STREAM % 2**62)[:, None] + steps)


def _unit(words: Int64[Tensor, "*any"]) -> Float32[Tensor, "*any"]:
    """32 bits as a value above 0 and at most 1."""
    return words.to(torch.float32).add_(0.5).div_(_HALF)


def _log(values: Float32[Tensor, "*any"]) -> Float32[Tensor, "*any"]:
    """The natural logarithm of values above 0 and at most 1, never above 0: 2 artanh((m - 1) / (m + 1)) + n log 2."""
    part, power = torch.frexp(values)
    small = part < math.sqrt(0.5)
    part, power = torch.where(small, 2 * part, part), power.sub_(small.to(power.dtype))
    z = (part - 1).div_(part + 1)
    series = _polynomial(z * z, [1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0])
    return series.mul_(z).mul_(2.0).add_(power.to(z.dtype).mul_(math.log(2))).clamp_max_(0.0)


def _round(values: Float32[Tensor, "*any"]) -> tuple[Float32[Tensor, "*any"], Float32[Tensor, "*any"]]:
    """Sine and cosine of 2 pi times the values, from 0 to 1, but for a common sign: of a quarter, doubled twice."""
    angle = values.sub_(0.5).mul_(math.pi / 2)
    square = angle * angle
    sine = _polynomial(square, [1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0]).mul_(angle)
    cosine = _polynomial(square, [-1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2, 1.0])
    for _ in range(2):
        sine, cosine = (sine * cosine).mul_(2.0), (sine * sine).mul_(-2.0).add_(1.0)
    return sine, cosine


def _polynomial(x: Float32[Tensor, "*any"], coefficients: list[float]) -> Float32[Tensor, "*any"]:
    """By Horner, the highest power first."""
    found = torch.full_like(x, coefficients[0])
    for one in coefficients[1:]:
        found.mul_(x).add_(one)
    return found


def _mixed(words: Int64[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
    """The finalizer of splitmix64, in place; products wrap."""
    words.bitwise_xor_(_shifted(words, 30)).mul_(_FIRST)
    words.bitwise_xor_(_shifted(words, 27)).mul_(_SECOND)
    return words.bitwise_xor_(_shifted(words, 31))


def _shifted(words: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left."""
    return words.bitwise_right_shift(by).bitwise_and_(2 ** (64 - by) - 1)
