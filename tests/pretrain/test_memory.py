"""How many images fit shrinks with the model, and is never none."""

import pytest
import torch

from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.pretrain.memory import images_that_fit, largest_power_of_two, memory_bytes
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
