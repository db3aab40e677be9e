"""Patches drawn with a part of them known have the moments of the conditional: of mixtures, by exact networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.denoising import DenoisingHead
from nextpatch.model.heads.diffusion import DiffusionHead, _remaining
from nextpatch.model.heads.distribution import Draw, Known
from nextpatch.model.heads.flow import FlowHead
from nextpatch.model.heads.led import Led
from nextpatch.model.heads.noise import Noise

KINDS = {"flow": FlowHead, "diffusion": DiffusionHead}


@dataclass(frozen=True)
class Mixture:
    """Of normal distributions, with mean 0 and deviation 1 of each value."""

    share: Tensor
    means: Tensor
    covariances: Tensor

    @classmethod
    def of(cls, share: list[float], means: list[list[float]], covariance: list[list[float]]) -> Mixture:
        p, m = torch.tensor(share).double(), torch.tensor(means).double()
        c = torch.tensor(covariance).double().expand(len(p), -1, -1)
        center = (p[:, None] * m).sum(dim=0)
        scale = ((p[:, None] * (m**2 + c.diagonal(dim1=1, dim2=2))).sum(dim=0) - center**2).sqrt()
        return cls(p, (m - center) / scale, c / (scale[:, None] * scale))

    def clean(self, noisy: Tensor, kept: float, variance: float) -> Tensor:
        """Expected, of kept * clean + noise of a variance."""
        eye = torch.eye(noisy.shape[1]).double()
        inverse = torch.linalg.inv(kept**2 * self.covariances + variance * eye)
        apart = noisy[:, None] - kept * self.means
        weight = torch.einsum("nki,kij,nkj->nk", apart, inverse, apart) - torch.logdet(inverse)
        each = self.means + kept * torch.einsum("kij,kjl,nkl->nki", self.covariances, inverse, apart)
        return ((self.share.log() - weight / 2).softmax(dim=1)[..., None] * each).sum(dim=1)

    def given(self, mask: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the other values."""
        k, u = mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]
        inverse = torch.linalg.inv(self.covariances[:, k][:, :, k])
        slope = self.covariances[:, u][:, :, k] @ inverse
        apart = values[k] - self.means[:, k]
        weight = torch.einsum("ki,kij,kj->k", apart, inverse, apart) - torch.logdet(inverse)
        p = (self.share.log() - weight / 2).softmax(dim=0)
        means = self.means[:, u] + torch.einsum("kui,ki->ku", slope, apart)
        variances = (self.covariances[:, u][:, :, u] - slope @ self.covariances[:, k][:, :, u]).diagonal(dim1=1, dim2=2)
        mean = (p[:, None] * means).sum(dim=0)
        return mean, ((p[:, None] * (variances + means**2)).sum(dim=0) - mean**2).sqrt()


def exact(kind: str, mixture: Mixture) -> DenoisingHead:
    """A head whose network is the best there can be."""
    values = mixture.means.shape[1]
    shape = {"embed_dim": 8, "depth": 1, "num_heads": 1, "head_width": 12, "head_depth": 1}
    head = KINDS[kind](ModelConfig("nano", (1, 4), 1, values, head=kind, **shape)).double()
    nn.init.zeros_(head.standard.center)
    nn.init.ones_(head.standard.scale)
    nn.init.constant_(head.standard.low, -9.0)
    nn.init.constant_(head.standard.high, 9.0)
    remains = _remaining()

    def denoised(noisy: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        if kind == "flow":
            t = float(time)
            return (mixture.clean(noisy, t, (1 - t) ** 2) - noisy) / (1 - t)
        a = float(remains[round(float(time) * 1000)])
        return (noisy - math.sqrt(a) * mixture.clean(noisy, math.sqrt(a), 1 - a)) / math.sqrt(1 - a)

    head.denoised = denoised  # type: ignore[method-assign]
    return head


class Asked(Led):
    """In place of `Led`: the network's `denoised` at each time, which the exact ones replace."""

    def __init__(self, head: DenoisingHead, condition: Tensor, _: object, __: float, times: Sequence[float]) -> None:
        self._of, self._given, self._when = head, condition, times

    def __call__(self, noisy: Tensor, number: int) -> Tensor:
        return self._of.denoised(noisy, self._given, torch.tensor(self._when[number]).double())


LINE = Mixture.of([1.0], [[0.0, 0.0]], [[1.0, 0.95], [0.95, 1.0]])
TWO = Mixture.of([0.5, 0.5], [[-1.0, -1.0], [1.0, 1.0]], [[0.15, 0.1], [0.1, 0.15]])
FOUR = Mixture.of(
    [0.5, 0.3, 0.2], [[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 1.0]],
    (torch.eye(4) * 0.1 + 0.15).tolist(),
)  # fmt: skip
CASES = [
    (LINE, [True, False], [1.0, 0.0], 0.1),
    (TWO, [True, False], [0.9, 0.0], 0.1),
    (TWO, [True, False], [0.3, 0.0], 0.3),
    (FOUR, [True, False, False, True], [0.4, 0.0, 0.0, -0.1], 0.4),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mixture", "mask", "values", "near"), CASES)
def test_the_rest_of_a_patch_has_the_moments_of_the_conditional(
    kind: str, mixture: Mixture, mask: list[bool], values: list[float], near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"nextpatch.model.heads.{kind}.Led", Asked)
    count = 2000
    given = Known(torch.tensor(values).double().expand(count, -1), torch.tensor(mask).expand(count, -1))
    noise = Noise(torch.full((count,), 3), torch.arange(count))
    condition = torch.zeros(count, 12).double()
    with torch.no_grad():
        found = exact(kind, mixture).sample(condition, noise, Draw(steps=20), known=given)
    assert torch.equal(found[:, given.mask[0]], given.values[:, given.mask[0]])
    mean, deviation = mixture.given(given.mask[0], given.values[0])
    rest = found[:, ~given.mask[0]]
    assert (((rest.mean(dim=0) - mean) / deviation).abs() < near).all()
    assert ((rest.std(dim=0) / deviation - 1).abs() < 0.25).all()
