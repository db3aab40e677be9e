"""Patches, prefixes, targets and causality, over random shapes and seeds."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losses import loss_sum, patch_losses, predict, scored_count, targets
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import draw_prefix, scored_mask
from nextpatch.patches import normalize_patches, patch_statistics, patchify, unpatchify

examples = partial(settings, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 5)
counts = st.integers(2, 40)  # patches in an image


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**values: object) -> AIM:
    shape = {"embed_dim": 16, "depth": 2, "num_heads": 2, "head_width": 16, "head_depth": 1}
    model = AIM(ModelConfig(img_size=(9, 12), patch_size=3, in_chans=2, **shape, **values))
    init_weights(model, 0)
    return model


@examples(max_examples=40)
@given(sizes, sizes, sizes, sizes, sizes, seeds)
def test_patches_are_in_raster_order_and_row_column_channel_inside(
    batch: int, channels: int, rows: int, columns: int, p: int, seed: int
) -> None:
    images = noise(seed, batch, channels, rows * p, columns * p)
    patches = patchify(images, p)
    assert torch.equal(unpatchify(patches, (rows, columns), p), images)
    for k in range(rows * columns):
        top, left = k // columns * p, k % columns * p
        piece = images[:, :, top : top + p, left : left + p]
        # value (row, column, channel) of a patch is number (row * P + column) * C + channel
        assert torch.equal(torch.stack([patches[:, k, c::channels] for c in range(channels)], 1), piece.flatten(2))


@pytest.mark.parametrize("side", [(7, 8), (8, 7)])
def test_a_side_that_does_not_divide_is_an_error(side: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not divide into patches of 4"):
        patchify(torch.zeros(1, 1, *side), 4)


@examples(max_examples=30)
@given(seeds, counts, st.lists(st.integers(0, 2**40), min_size=1, max_size=12), st.integers(1, 12))
def test_prefixes_depend_on_seed_and_position_alone(seed: int, count: int, positions: list[int], cut: int) -> None:
    drawn = draw_prefix(seed, torch.tensor(positions), count)
    assert drawn.dtype == torch.int64
    assert bool(((drawn >= 1) & (drawn < count)).all())
    pieces = [draw_prefix(seed, torch.tensor(positions[i : i + cut]), count) for i in range(0, len(positions), cut)]
    assert torch.equal(torch.cat(pieces), drawn)
    assert torch.equal(draw_prefix(seed, torch.tensor(positions[::-1]), count), drawn.flip(0))


@pytest.mark.parametrize("vary", ["position", "seed"])
def test_prefixes_are_uniform(vary: str) -> None:
    if vary == "position":
        drawn = draw_prefix(7, torch.arange(20_000), 17)
    else:
        drawn = torch.cat([draw_prefix(seed, torch.tensor([3]), 17) for seed in range(20_000)])
    expected = 20_000 / 16
    found = torch.bincount(drawn, minlength=17)[1:].double()
    assert len(found) == 16
    assert float(((found - expected) ** 2 / expected).sum()) < 37.7  # chi-square, 15 degrees of freedom, p = 0.001


def test_neighboring_positions_and_seeds_draw_independently() -> None:
    drawn = draw_prefix(7, torch.arange(20_000), 17).double()
    other = draw_prefix(8, torch.arange(20_000), 17).double()
    for a, b in ((drawn[:-1], drawn[1:]), (drawn, other)):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 4 / 20_000**0.5


@examples(max_examples=30)
@given(st.data(), counts)
def test_exactly_outputs_from_the_last_prefix_patch_on_are_scored(data: st.DataObject, count: int) -> None:
    drawn = data.draw(st.lists(st.integers(1, count - 1), max_size=4))
    lengths = [1, count - 1, *drawn]
    mask = scored_mask(torch.tensor(lengths), count)
    assert mask.shape == (len(lengths), count - 1)
    for row, s in zip(mask, lengths, strict=True):
        assert row.nonzero().flatten().tolist() == list(range(s - 1, count - 1))
    assert int(mask.sum()) == scored_count(torch.tensor(lengths), count)


@pytest.mark.parametrize("length", [-1, 0, 12, 13])
def test_a_prefix_outside_its_range_is_an_error(length: int) -> None:
    lengths = torch.tensor([3, length])
    with pytest.raises(ValueError, match=r"must be in 1 \.\. 11"):
        scored_mask(lengths, 12)
    with pytest.raises(ValueError, match=r"must be in 1 \.\. 11"):
        loss_sum(small(), torch.zeros(2, 2, 9, 12), lengths)


@examples(max_examples=30)
@given(seeds, st.integers(2, 50), st.floats(1e-4, 1e3), st.floats(-10, 10))
def test_normalized_targets_have_no_mean_and_almost_unit_variance(
    seed: int, values: int, scale: float, offset: float
) -> None:
    patches = noise(seed, 2, 3, values).double() * scale + offset
    found = targets(patches, "norm_pixels")
    variance = patches.var(-1, unbiased=True)
    assert float(found.mean(-1).abs().max()) < 1e-7
    torch.testing.assert_close(found.var(-1, unbiased=True), variance / (variance + 1e-6), rtol=1e-7, atol=1e-9)
    mean, deviation = patch_statistics(patches)
    torch.testing.assert_close(found * deviation + mean, patches)
    assert torch.equal(found, normalize_patches(patches))
    assert torch.equal(targets(patches, "pixels"), patches)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.1179, 1e3])
def test_constant_patches_give_a_finite_loss_and_gradients(value: float) -> None:
    model = small()
    images = noise(0, 3, 2, 9, 12)
    images[0] = value  # every patch of the image
    images[1, :, 3:6] = value  # one row of patches
    loss_sum(model, images.requires_grad_(), torch.tensor([1, 4, 11])).backward()
    assert bool(targets(patchify(images.detach(), 3), "norm_pixels").isfinite().all())
    for name, tensor in [("images", images), *model.named_parameters()]:
        assert bool(tensor.grad.isfinite().all()), name


def replaced(images: Tensor, which: slice, seed: int) -> Tensor:
    patches = patchify(images, 3).clone()
    patches[:, which] = 5 * noise(seed, *patches[:, which].shape)
    return unpatchify(patches, (3, 4), 3)


@pytest.mark.parametrize("mode", ["prefix", "causal"])
@pytest.mark.parametrize("prefix", [1, 5, 11])
def test_a_scored_prediction_sees_its_own_patch_and_none_after_it(prefix: int, mode: str) -> None:
    model, images, prefix_len = small(), noise(1, 2, 2, 9, 12), torch.full((2,), prefix)
    with torch.no_grad():
        predicted = predict(model, images, prefix_len, mode)
        for i in range(prefix - 1, 11):
            later = predict(model, replaced(images, slice(i + 1, None), i), prefix_len, mode)
            assert torch.equal(later[:, i], predicted[:, i])
            own = predict(model, replaced(images, slice(i, i + 1), i), prefix_len, mode)
            assert bool((own[:, i] != predicted[:, i]).all())


@pytest.mark.parametrize("attention", ["prefix", "causal"])
@pytest.mark.parametrize("prefix", [1, 5, 11])
def test_the_last_patch_enters_the_loss_as_a_target_only(prefix: int, attention: str) -> None:
    model = small(target="pixels", attention=attention)
    images, prefix_len = noise(2, 2, 2, 9, 12).requires_grad_(), torch.full((2,), prefix)
    (gradient,) = torch.autograd.grad(loss_sum(model, images, prefix_len), images)
    residual = patchify(images.detach(), 3)[:, 11] - predict(model, images.detach(), prefix_len, attention)[:, 10]
    torch.testing.assert_close(patchify(gradient, 3)[:, 11], 2 * residual.detach() / 18)


@pytest.mark.parametrize("prefix", [2, 5, 11])
def test_patches_inside_the_prefix_are_given_and_see_each_other(prefix: int) -> None:
    model, images, prefix_len = small(), noise(3, 2, 2, 9, 12), torch.full((2,), prefix)
    with torch.no_grad():
        predicted = predict(model, images, prefix_len)
        changed = predict(model, replaced(images, slice(prefix - 1, prefix), 0), prefix_len)
        outside = predict(model, replaced(images, slice(prefix, None), 0), prefix_len)
        losses = patch_losses(model, images, prefix_len)
    assert bool((changed[:, 0] != predicted[:, 0]).any())
    assert torch.equal(outside[:, :prefix], predicted[:, :prefix])
    assert not losses[:, : prefix - 1].any()
    assert bool((losses[:, prefix - 1 :] > 0).all())
