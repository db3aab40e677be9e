"""The random numbers that patches are drawn from: each image's own, whatever else is drawn with it."""

from __future__ import annotations

import torch

from nextpatch.model.draw import RowNoise


def test_an_image_has_its_own_numbers_in_any_batch() -> None:
    together, alone = RowNoise(5, [3, 0, 8]), RowNoise(5, [8])
    for values in (7, 1, 4):
        assert torch.equal(together.normal(values)[2:], alone.normal(values))
        assert torch.equal(together.uniform(values)[2:], alone.uniform(values))
    assert not torch.equal(RowNoise(5, [0]).normal(9), RowNoise(6, [0]).normal(9))
    first, second = together.normal(9), together.normal(9)
    assert len({*first.flatten().tolist(), *second.flatten().tolist()}) == 54


def test_they_have_the_moments_of_their_distributions() -> None:
    noise = RowNoise(0, range(200))
    normal, uniform = noise.normal(501).double(), noise.uniform(500).double()
    assert abs(normal.mean()) < 0.01
    assert abs(normal.var() - 1) < 0.02
    assert abs((normal**4).mean() - 3) < 0.1
    assert abs((normal[:, :250] * normal[:, 251:501]).mean()) < 0.01  # the two of a pair are independent
    assert abs(uniform.mean() - 0.5) < 0.005
    assert abs(uniform.var() - 1 / 12) < 0.002
    assert uniform.min() > 0
    assert uniform.max() < 1


def test_numbers_stay_what_they_were() -> None:
    """A picture is repeated by its seed, in later versions too."""
    found = RowNoise(1, [2]).normal(4)
    torch.testing.assert_close(found, torch.tensor([[-1.3544, -0.2217, -0.1374, -1.4915]]), rtol=0, atol=1e-4)
