"""Heads that are distributions: their loss in plain words, and a mixture of two that they learn and are drawn from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nextpatch.core.errors import ConfigError
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.denoising import DenoisingHead
from nextpatch.model.heads.diffusion import DiffusionHead
from nextpatch.model.heads.distribution import Distribution, Draw, Known
from nextpatch.model.heads.flow import FlowHead
from nextpatch.model.heads.led import Led
from nextpatch.model.heads.noise import Noise
from nextpatch.model.init import init_weights
from nextpatch.model.layers import LN_EPS

KINDS = {"flow": FlowHead, "diffusion": DiffusionHead}
per_head = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, **values: Any) -> DenoisingHead:
    """On patches of one pixel with two channels, started and stirred: nothing is at zero."""
    given = {"embed_dim": 8, "depth": 1, "num_heads": 1, "head_width": 12, "head_depth": 2, "draws": 3, **values}
    head = KINDS[kind](ModelConfig("nano", (1, 4), 1, 2, head=kind, **given))
    assert isinstance(head, Distribution)
    init_weights(head, 0)
    return head


def stirred(head: DenoisingHead) -> DenoisingHead:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    head.measure([torch.randn(50, 4, 2, generator=generator) * torch.tensor([2.0, 0.5]) + 1], [0.0], [1.0])
    return head.double()


def noise_of(count: int, seed: int = 0) -> Noise:
    return Noise(torch.full((count,), seed), torch.arange(count))


def plain_network(head: DenoisingHead, noisy: Tensor, condition: Tensor, time: float) -> Tensor:
    """One patch at one time, written out."""

    def linear(layer: nn.Linear, x: Tensor) -> Tensor:
        return layer.weight @ x + (0 if layer.bias is None else layer.bias)

    def norm(x: Tensor) -> Tensor:
        return (x - x.mean()) / ((x - x.mean()).square().mean() + LN_EPS).sqrt()

    def silu(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def gelu(x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    width = len(condition)
    angles = [1000 * time * 10000 ** (-2 * i / width) for i in range(width // 2)]
    waves = torch.tensor([*map(math.cos, angles), *map(math.sin, angles)], dtype=torch.float64)
    told = silu(condition + linear(head.time_2, silu(linear(head.time_1, waves))))
    x = linear(head.noisy, noisy)
    for block in head.blocks:
        shift, scale, gate = linear(block.told, told).chunk(3)
        x = x + gate * linear(block.mlp.fc2, gelu(linear(block.mlp.fc1, norm(x) * (1 + scale) + shift)))
    shift, scale = linear(head.told, told).chunk(2)
    return linear(head.clean, norm(x) * (1 + scale) + shift)


@torch.no_grad()
def plain_loss(kind: str, head: DenoisingHead, condition: Tensor, patch: Tensor, noise: Noise) -> Tensor:
    """Of one row."""
    x = (patch - head.standard.center) / head.standard.scale
    found = []
    for draw in range(3):
        e = noise.normal(1, 3, 2)[0, draw].double()
        if kind == "flow":
            t = 1 / (1 + math.exp(-float(noise.normal(0, 3)[0, draw])))
            guess = plain_network(head, (1 - t) * e + t * x, condition, t)
            found.append((guess - (x - e)).square().mean())
        else:
            step = min(999, int(float(noise.uniform(0, 3)[0, draw]) * 1000))
            a = 1.0
            for s in range(step + 1):
                a *= max(0.001, schedule((s + 1) / 1000) / schedule(s / 1000))
            guess = plain_network(head, math.sqrt(a) * x + math.sqrt(1 - a) * e, condition, step / 1000)
            found.append((guess - e).square().mean())
    return torch.stack(found).mean()


def schedule(at: float) -> float:
    return math.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2


@per_head
def test_the_loss_is_the_plain_formulation(kind: str) -> None:
    head = stirred(made(kind))
    generator = torch.Generator().manual_seed(3)
    condition = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    patches = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    found = head.losses(condition, patches, noise_of(5))
    for row in range(5):
        own = Noise(torch.zeros(1, dtype=torch.int64), torch.tensor([row]))
        wanted = plain_loss(kind, head, condition[row], patches[row], own)
        assert abs(float(found[row].detach() - wanted)) <= 1e-6 * float(wanted)


@per_head
@torch.no_grad()
def test_what_is_told_ahead_of_many_steps_is_what_each_step_would_be_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, generator = stirred(made(kind)), torch.Generator().manual_seed(5)
    told, untold, noisy = (torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (12, 12, 2))
    times = [0.9, 0.5, 0.25, 0.1, 0.0]
    for rows in (256, 8, 1):  # all times at once, two, one
        monkeypatch.setattr("nextpatch.model.heads.led._ROWS", rows)
        for guidance in (1.0, 1.7):
            found = Led(head, told, untold, guidance, times)
            for number, time in enumerate(times):
                at = torch.tensor([time], dtype=torch.float64)
                with_it, without = (head.denoised(noisy, one, at) for one in (told, untold))
                wanted = without + guidance * (with_it - without)
                torch.testing.assert_close(found(noisy, number), wanted, rtol=1e-12, atol=1e-12)


@per_head
def test_it_starts_at_zero_and_the_condition_is_told_the_place_of_the_target_alone(kind: str) -> None:
    head = made(kind)
    assert not head.denoised(torch.randn(3, 2), torch.randn(3, 12), torch.rand(3)).any()
    rows, here, there = torch.randn(4, 8), torch.arange(4), torch.tensor([1, 1, 3, 0])
    found = head.hidden(rows, here, there, here)
    assert torch.equal(found, head.hidden(rows, here.flip(0), there, here))
    assert not torch.equal(found, head.hidden(rows, here, there.flip(0), here))


@per_head
def test_patches_are_standardized_by_what_was_measured(kind: str) -> None:
    head, generator = made(kind), torch.Generator().manual_seed(0)
    patches = torch.randn(400, 4, 2, generator=generator) * torch.tensor([3.0, 0.0]) + torch.tensor([1.0, 5.0])
    head.measure([patches[:100], patches[100:]], [0.0], [1.0])
    flat = patches.flatten(0, 1)
    torch.testing.assert_close(head.standard.center, flat.mean(dim=0))
    torch.testing.assert_close(head.standard.scale[0], flat[:, 0].std(correction=0))
    torch.testing.assert_close(head.standard.scale[1], 0.1 * flat.std(correction=0))  # never blown up
    torch.testing.assert_close(head.standard.back(head.standard(patches)), patches)
    assert {"standard.center", "standard.scale"} <= head.state_dict().keys()
    with pytest.raises(ValueError, match="no patches"):
        head.measure([], [0.0], [1.0])


MEANS, SHARE = torch.tensor([[2.0, -1.0], [-1.0, 1.5]]), 0.7  # a mixture of two normals, of deviation 0.3


def mixture(count: int, generator: torch.Generator) -> Tensor:
    which = (torch.rand(count, generator=generator) > SHARE).long()
    return MEANS[which] + 0.3 * torch.randn(count, 2, generator=generator)


@pytest.fixture(scope="module")
def learned() -> dict[str, DenoisingHead]:
    """Of a mixture that is there under the first of two conditions; the second gives its mirror image."""
    found = {}
    for kind in KINDS:
        head, generator = made(kind, head_width=48, head_depth=2, draws=4), torch.Generator().manual_seed(0)
        sign = torch.tensor([1.0, -1.0]).repeat(128)
        head.measure([mixture(4000, generator)[None], -mixture(4000, generator)[None]], [0.0], [1.0])
        optimizer = torch.optim.AdamW(head.parameters(), 4e-3, weight_decay=0.0)
        for step in range(300):
            for group in optimizer.param_groups:
                group["lr"] = 4e-3 * (1 - step / 300)
            patches = mixture(256, generator) * sign[:, None]
            loss = head.losses(conditions(sign), patches, noise_of(256, step)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[kind] = head.eval()
    return found


def conditions(sign: Tensor) -> Tensor:
    return sign[:, None] * torch.ones(12 * 4) / 2


@torch.no_grad()
def drawn(head: DenoisingHead, count: int = 4000, seed: int = 9, **values: Any) -> Tensor:
    return head.sample(conditions(torch.ones(count)), noise_of(count, seed), Draw(**values))


SETTINGS = {
    "flow": [{"steps": 40}, {"steps": 15, "method": "heun"}],
    "diffusion": [{"steps": 100}, {"steps": 250}],
}


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind in KINDS for number in (0, 1)])
def test_a_mixture_is_drawn_with_its_moments(learned: dict[str, DenoisingHead], kind: str, number: int) -> None:
    settings = SETTINGS[kind][number]
    found = drawn(learned[kind], 2000, **settings)
    distance = (found[:, None] - MEANS).norm(dim=-1)
    nearest = distance.argmin(dim=1)
    assert abs(float((nearest == 0).float().mean()) - SHARE) < 0.08
    assert float((distance.min(dim=1).values < 1.2).float().mean()) > 0.95
    for one in (0, 1):
        own = found[nearest == one]
        torch.testing.assert_close(own.mean(dim=0), MEANS[one], rtol=0, atol=0.15)
        assert (own.std(dim=0) / 0.3 - 1).abs().max() < 0.35


@per_head
def test_samples_belong_to_their_rows_and_settings_change_them(learned: dict[str, DenoisingHead], kind: str) -> None:
    head = learned[kind]
    whole = drawn(head, 64)
    alone = head.sample(conditions(torch.ones(2)), Noise(torch.full((2,), 9), torch.tensor([5, 63])), Draw())
    torch.testing.assert_close(alone, whole[[5, 63]], rtol=0, atol=1e-4)
    cold = drawn(head, 400, temperature=0.3)
    nearest = (cold[:, None] - MEANS).norm(dim=-1).argmin(dim=1)
    assert max(float(cold[nearest == i].std(dim=0).max()) for i in (0, 1) if (nearest == i).sum() > 20) < 0.3
    plain, other = conditions(torch.ones(400)), conditions(-torch.ones(400))
    settings = Draw(guidance=1.0)
    assert torch.equal(head.sample(plain, noise_of(400), settings, other), head.sample(plain, noise_of(400), settings))
    mirror = head.sample(plain, noise_of(400), Draw(guidance=0.0), other)
    torch.testing.assert_close(mirror, head.sample(other, noise_of(400), Draw()), rtol=0, atol=1e-4)


@per_head
def test_known_values_stay_and_the_rest_follows_them(learned: dict[str, DenoisingHead], kind: str) -> None:
    """Where the first value says which of the two it is, the second is of the same one: blind, half of them are."""
    count = 400
    which = torch.arange(count) % 2
    known = Known(MEANS[which], torch.tensor([True, False]).expand(count, -1))
    found = learned[kind].sample(conditions(torch.ones(count)), noise_of(count), Draw(steps=40), known=known)
    assert torch.equal(found[:, 0], MEANS[which][:, 0])
    same = (found[:, 1] - MEANS[which][:, 1]).abs() < (found[:, 1] - MEANS[1 - which][:, 1]).abs()
    assert float(same.float().mean()) > 0.97


def test_settings_that_make_no_sense_are_told() -> None:
    with pytest.raises(ConfigError, match="steps"):
        Draw(steps=0)
    with pytest.raises(ConfigError, match="temperature"):
        Draw(temperature=-1.0)
