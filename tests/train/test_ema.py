"""Averaged weights against their definition in float64: the decay by images, the start, and the swap with the model."""

import math

import pytest
import torch
from torch import nn

from nextpatch.train.ema import AveragedWeights, decay_of


def learning(frozen=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(not frozen)
    return model


def step(model):
    with torch.no_grad():
        for param in model.parameters():
            param.add_(torch.randn_like(param) * param.requires_grad)


def test_half_of_the_weight_is_on_the_images_of_the_last_half_life():
    half_life, batch, seen = 1000.0, 50, 10**6
    kept = math.prod(decay_of(half_life, batch, seen + n * batch) for n in range(20))
    assert kept == pytest.approx(0.5)
    assert decay_of(half_life, 50, seen) == pytest.approx(decay_of(half_life, 25, seen) ** 2), "whatever the batch"


def test_early_in_a_run_the_half_life_is_a_twentieth_of_the_images_seen():
    assert decay_of(1e9, 8, 0) == 0
    assert decay_of(1e9, 8, 16_000) == decay_of(800.0, 8, 10**9)
    weight, remains = 0.0, 1.0  # of the first half of a run of 64,000 images in its average
    for position in reversed(range(0, 64_000, 64)):
        decay = decay_of(1e9, 64, position)
        weight += remains * (1 - decay) * (position < 32_000)
        remains *= decay
    assert remains == 0, "nothing of the start"
    assert weight == pytest.approx(0.5 ** (math.log(2) / 0.05), rel=0.05)


@pytest.mark.parametrize("half_life", [100.0, 1e9])
def test_the_average_is_that_of_the_definition(half_life):
    model = learning()
    averages = AveragedWeights(model, half_life, 16)
    wanted = {}
    for number in range(30):
        step(model)
        averages.update(16 * number)
        for name, param in model.named_parameters():
            decay = decay_of(half_life, 16, 16 * number)
            wanted[name] = decay * wanted.get(name, 0.0) + (1 - decay) * param.detach().double()
    assert averages.tensors().keys() == dict(model.named_parameters()).keys()
    for name, average in averages.tensors().items():
        assert average.dtype == torch.float32
        assert torch.allclose(average.double(), wanted[name], rtol=1e-5, atol=1e-6)


def test_the_model_has_the_averages_for_a_while_and_then_its_own_bits():
    model = learning()
    averages = AveragedWeights(model, 100.0, 16)
    for number in range(3):
        step(model)
        averages.update(16 * number)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    kept = {name: value.clone() for name, value in averages.tensors().items()}
    with averages.in_place():
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in averages.tensors().items())


def test_what_does_not_learn_is_not_kept_twice():
    model = learning(frozen=True)
    assert AveragedWeights(model, 100.0, 16).tensors().keys() == {"1.weight", "1.bias"}
