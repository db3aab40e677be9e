"""How many images fit shrinks with the model, and is never none."""

import time

import pytest
import torch

from nextpatch.core.errors import ConfigError
from nextpatch.dist.ranks import ALONE
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.pretrain import memory
from nextpatch.tasks.pretrain.memory import images_that_fit, largest_power_of_two, memory_bytes
from nextpatch.train.memory import Setting


def test_larger_models_fit_fewer_images():
    fits = [images_that_fit(ModelConfig(size), 2**34, Setting(), 4096) for size in SIZES]
    assert fits == sorted(fits, reverse=True)
    assert fits[0] > fits[3] > 0
    assert fits[-1] == 1


def test_the_machine_has_memory():
    assert memory_bytes(torch.device("cpu")) > 2**28


@pytest.mark.parametrize(("most", "found"), [(-5, 1), (0, 1), (1, 1), (2, 2), (3, 2), (255, 128), (256, 256)])
def test_powers_of_two(most, found):
    assert largest_power_of_two(most) == found


@pytest.mark.parametrize(
    ("model", "train"),
    [
        (ModelConfig("7b", (224, 224)), {}),
        (ModelConfig("nano", (28, 28), 7, embed_dim=2**17, num_heads=2, depth=4096), {}),
        (ModelConfig("nano", (224, 224), 14), {"global_batch_size": 2**20, "micro_batch_size": 2**20}),
        (ModelConfig("nano", (2240, 2240), 14), {"global_batch_size": 2**12, "micro_batch_size": 1}),
    ],
)
def test_what_can_never_fit_is_refused_by_formula(model, train, monkeypatch):
    monkeypatch.setattr(memory, "whole_memory_bytes", lambda device: 8 * 2**30)
    values = {"steps": 1, "global_batch_size": 8, "micro_batch_size": 8, "device": "cpu", **train}
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"needs about .* of memory, and this cpu has 8\.59 GB"):
        memory.check_memory(Recipe(model=model, train=TrainConfig(**values)), ALONE)
    assert time.monotonic() - began < 1


def test_a_frozen_trunk_needs_no_optimizer(monkeypatch):
    monkeypatch.setattr(memory, "whole_memory_bytes", lambda device: 8 * 2**30)
    train = TrainConfig(
        1,
        global_batch_size=8,
        micro_batch_size=8,
        device="cpu",
        precision="fp32",
        init="apple/aim-600M",
        freeze_trunk=True,
    )
    memory.check_memory(Recipe(model=ModelConfig("600m"), train=train), ALONE)
