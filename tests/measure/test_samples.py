"""Distances of sets of images: torchmetrics' own figures, closed forms of Gaussians, and what each measure is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from nextpatch.core.errors import UserError
from nextpatch.measure.distances import NearestVectors
from nextpatch.measure.diversity import Closeness, diversity
from nextpatch.measure.frechet import FeatureMoments, frechet_distance
from nextpatch.measure.kernel_distance import discrepancy, kernel_distance
from nextpatch.measure.precision_recall import precision_recall

RNG = np.random.default_rng
BLOCKS = "nextpatch.measure.distances.BLOCK"


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(RNG(seed).normal(size=shape))


def pixels(seed: int, count: int, mean: float = 128) -> Tensor:
    return torch.from_numpy(RNG(seed).normal(mean, 40, (count, 3, 4, 4)).clip(0, 255).astype(np.uint8))


class Features(nn.Module):
    """What torchmetrics takes in place of Inception: a fixed map of some pixels, float64."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        seen = images[:, :, :4, :4].double().flatten(1) / 255
        weights = torch.from_numpy(RNG(0).normal(size=(48, 12)))
        return torch.tanh(seen @ weights)


def test_the_frechet_distance_is_that_of_torchmetrics() -> None:
    real, fake, model = pixels(0, 300), pixels(1, 200, 110), Features()
    metric = FrechetInceptionDistance(feature=model, normalize=False)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    ours = frechet_distance(FeatureMoments.of(model(real)), FeatureMoments.of(model(fake)))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_the_kernel_distance_is_that_of_torchmetrics() -> None:
    real, fake, model = pixels(0, 120), pixels(1, 120, 110), Features()
    metric = KernelInceptionDistance(feature=model, subsets=2, subset_size=120)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    ours = kernel_distance(model(real), model(fake), RNG(0), size=120)
    assert ours.value == pytest.approx(float(metric.compute()[0]), rel=1e-5)
    assert (ours.subsets, ours.deviation) == (1, 0)  # all subsets are the same


def with_moments(mean: np.ndarray, deviations: np.ndarray, turn: np.ndarray) -> Tensor:
    """Two vectors for each direction, so that mean and covariance are exactly these."""
    dim = len(deviations)
    corners = np.concatenate([np.eye(dim), -np.eye(dim)]) * deviations * np.sqrt((2 * dim - 1) / 2)
    return torch.from_numpy(corners @ turn.T + mean)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_frechet_distance_is_the_closed_form_whatever_the_rank(rank: int) -> None:
    """Of covariances with the same directions it is |m1 - m2|² + sum (s1 - s2)²; some s may be 0."""
    turn = np.linalg.qr(RNG(0).normal(size=(8, 8)))[0]
    one, other = RNG(1).uniform(0.1, 2, (2, 8)) * (np.arange(8) < rank)
    means = RNG(2).normal(size=(2, 8))
    found = frechet_distance(
        *(FeatureMoments.of(with_moments(*each, turn)) for each in zip(means, (one, other), strict=True))
    )
    assert found == pytest.approx(((means[0] - means[1]) ** 2).sum() + ((one - other) ** 2).sum(), rel=1e-12)


def test_fewer_images_than_features_lose_no_digits() -> None:
    """The same 20 images, 300 values each, moved by a step: only the step counts."""
    few = normal(0, 20, 300)
    assert frechet_distance(FeatureMoments.of(few), FeatureMoments.of(few)) < 1e-11
    assert frechet_distance(FeatureMoments.of(few), FeatureMoments.of(few + 0.01)) == pytest.approx(
        300 * 1e-4, rel=1e-9
    )


def test_sums_by_batches_are_those_of_the_whole_and_a_large_mean_takes_no_digits() -> None:
    rows = normal(0, 101, 5) + 1e7
    found = FeatureMoments(5)
    for batch in rows.split([1, 1, 38, 0, 60, 1]):
        found.add(batch)
    assert found.count == 101
    assert torch.allclose(found.mean, rows.mean(dim=0), rtol=1e-15)
    assert torch.allclose(found.covariance, (rows - 1e7).T.cov(), rtol=1e-7, atol=1e-9)


def test_the_frechet_distance_falls_with_the_number_of_images_and_the_kernel_distance_does_not() -> None:
    """The bias of n against n images of one Gaussian is about (2 / n) (d + d (d + 1) / 4)."""
    dim, biases, kernels = 10, {}, {}
    for count in (200, 800, 3200):
        pairs = [[normal(100 * seed + side, count, dim) for side in (0, 1)] for seed in range(12)]
        biases[count] = np.mean([frechet_distance(FeatureMoments.of(a), FeatureMoments.of(b)) for a, b in pairs])
        kernels[count] = np.mean([discrepancy(a[:200], b[:200]) for a, b in pairs])
        assert biases[count] == pytest.approx(2 / count * (dim + dim * (dim + 1) / 4), rel=0.15)
    assert abs(np.mean(list(kernels.values()))) < 0.02  # of values about 1 + 3 + ... ; the deviation of one is 0.1


def test_the_kernel_distance_tells_sets_apart_by_more_than_it_varies() -> None:
    one, alike, other = (normal(seed, 600, 16) + (seed == 2) * 0.3 for seed in range(3))
    same, apart = kernel_distance(one, alike, RNG(0)), kernel_distance(one, other, RNG(0))
    assert abs(same.value) < 3 * same.deviation
    assert apart.value > 5 * apart.deviation
    assert same.size == 300
    with pytest.raises(UserError, match="at least four"):
        kernel_distance(one[:3], other, RNG(0))


def naive_precision(samples: Tensor, real: Tensor, k: int) -> float:
    reach = torch.cdist(real, real).sort(dim=1).values[:, k]  # [0] is itself
    return float((torch.cdist(samples, real) <= reach).any(dim=1).double().mean())


def test_precision_and_recall_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BLOCKS, 17)  # so that blocks end amid the images
    samples, real = normal(0, 50, 4) * 0.5, normal(1, 70, 4)
    found = precision_recall(samples, real)
    assert found.precision == pytest.approx(naive_precision(samples, real, 3))
    assert found.recall == pytest.approx(naive_precision(real, samples, 3))
    assert found.precision > found.recall  # samples that are too typical


def test_samples_of_one_kind_have_precision_and_no_recall() -> None:
    real = torch.cat([normal(0, 100, 3), normal(1, 100, 3) + 50])
    samples = normal(2, 100, 3) * 0.8
    found = precision_recall(samples, real)
    assert found.precision > 0.9
    assert found.recall <= 0.5
    with pytest.raises(UserError, match="give more"):
        precision_recall(samples[:3], real)


def bytes_of(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(RNG(seed).integers(0, 256, shape, np.uint8))


def test_the_nearest_of_batches_are_those_of_all_and_copies_have_distance_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BLOCKS, 16)
    train = bytes_of(0, 100, 49)
    queries = torch.cat([train[[7, 93]], bytes_of(1, 40, 49)])
    nearest = NearestVectors(queries, 3)
    for batch in train.split([1, 39, 1, 59]):
        nearest.add(batch)
    apart = (queries[:, None].double() / 255 - train.double() / 255).square().mean(dim=2).sqrt()
    assert nearest.numbers[:2, 0].tolist() == [7, 93]
    assert nearest.distances[:2, 0].tolist() == [0, 0]
    assert torch.allclose(nearest.distances, apart.sort(dim=1).values[:, :3])
    assert (nearest.numbers == apart.argsort(dim=1)[:, :3]).all()
    close = Closeness.of(nearest.distances[:, 0])
    assert (close.smallest, close.median) == (0, pytest.approx(float(apart.amin(dim=1).quantile(0.5))))


def test_diversity_is_the_mean_over_pairs_within_the_class_where_there_are_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BLOCKS, 8)
    images, labels = bytes_of(0, 30, 12), torch.arange(30) % 3 - 1
    apart = torch.cdist(images.double() / 255, images.double() / 255) / 12**0.5
    pairs = torch.ones(30, 30, dtype=torch.bool).triu(1)
    assert diversity(images) == pytest.approx(float(apart[pairs].mean()))
    alike = (labels[:, None] == labels) & (labels >= 0)
    assert diversity(images, labels) == pytest.approx(float(apart[pairs & alike].mean()))
    assert diversity(images[:1]) is None
    assert diversity(images, torch.full((30,), -1)) is None
    assert diversity(images[:1].expand(9, -1)) == pytest.approx(0, abs=1e-7)
