"""The bound on activations is a bound, and what fits shrinks with the model."""

from dataclasses import replace

import pytest
import torch

from nextpatch.model.aim import AIM
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.pretrain.memory import activation_bytes, images_that_fit, largest_power_of_two, memory_bytes

CFG = ModelConfig("nano", (32, 32), 4, 3)


def saved_bytes(images: int) -> int:
    """What autograd keeps for the backward pass of one training step, each storage once."""
    model = AIM(CFG)
    init_weights(model, 0)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss_sum(torch.randn(images, 3, 32, 32), torch.ones(images, dtype=torch.int64))
    loss.backward()
    return sum(storages.values())


def test_the_bound_holds_and_is_no_wild_guess():
    per_image = (saved_bytes(6) - saved_bytes(2)) / 4
    assert 0.4 * activation_bytes(CFG) < per_image <= activation_bytes(CFG)


def test_larger_models_fit_fewer_images():
    fits = [images_that_fit(ModelConfig(size), 2**34) for size in SIZES]
    assert fits == sorted(fits, reverse=True)
    assert fits[0] > fits[3] > 0
    assert fits[-1] == 1


def test_the_machine_has_memory():
    assert memory_bytes(torch.device("cpu")) > 2**28


@pytest.mark.parametrize(("most", "found"), [(-5, 1), (0, 1), (1, 1), (2, 2), (3, 2), (255, 128), (256, 256)])
def test_powers_of_two(most, found):
    assert largest_power_of_two(most) == found


def test_more_blocks_take_more():
    assert activation_bytes(replace(CFG, depth=8)) > activation_bytes(CFG)
