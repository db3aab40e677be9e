"""Every figure of a classifier against a plain reference, on random answers of which many are equally likely."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torchmetrics.functional.classification import multiclass_accuracy

from nextpatch.measure.metrics import Answers, likeliest
from nextpatch.tasks.probe.neighbors import KNNClassifier


def drawn(seed: int, classes: int, images: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many ties, and labels."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (images, classes), generator=generator).float()
    return scores, torch.randint(0, classes, (images,), generator=generator)


def ranked(scores: list[float]) -> list[int]:
    """The reference: by score, then by number; without a vote no answer."""
    voted = [c for c, score in enumerate(scores) if score != -math.inf]
    return sorted(voted, key=lambda c: (-scores[c], c))


def f1(said: np.ndarray, true: np.ndarray, label: int) -> float:
    right = int(((said == label) & (true == label)).sum())
    return 2 * right / int((said == label).sum() + (true == label).sum())


def macro_f1(said: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([f1(said, true, label) for label in np.union1d(said, true).tolist()]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 3, 5, 9])
def test_every_figure_is_the_reference_s(seed: int, classes: int) -> None:
    scores, labels = drawn(seed, classes)
    scores[torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) < 0.3] = -math.inf
    scores[:, seed % classes] = 1.0  # every image has an answer
    wanted = [ranked(row) for row in scores.tolist()]
    answers = Answers(likeliest(scores, min(5, classes)).numpy(), labels.numpy())
    true, said = labels.numpy(), np.array([row[0] for row in wanted])
    assert [[c for c in row if c >= 0] for row in answers.answers.tolist()] == [row[:5] for row in wanted]
    assert answers.top1 == pytest.approx(100 * float((said == true).mean()))
    assert answers.top5 == pytest.approx(
        100 * np.mean([label in row[:5] for label, row in zip(true.tolist(), wanted, strict=True)])
    )
    assert answers.macro_f1 == pytest.approx(100 * macro_f1(said, true))
    assert answers.per_class == pytest.approx(
        {c: round(100 * float((said[true == c] == c).mean()), 3) for c in np.unique(true).tolist()}, abs=2e-3
    )
    interval = binomtest(int((said == true).sum()), len(true)).proportion_ci(method="wilson")
    assert answers.ci95 == pytest.approx((100 * interval.low, 100 * interval.high), abs=1e-4)


@pytest.mark.parametrize("classes", [5, 12])
def test_without_ties_top_5_is_torchmetrics(classes: int) -> None:
    scores = torch.randn(80, classes, generator=torch.Generator().manual_seed(classes))
    labels = drawn(0, classes, 80)[1]
    wanted = 100 * float(multiclass_accuracy(scores, labels, classes, average="micro", top_k=5))
    assert Answers(likeliest(scores, 5).numpy(), labels.numpy()).top5 == pytest.approx(wanted)


def test_the_drawn_intervals_are_quantiles_of_the_reference() -> None:
    scores, labels = drawn(1, 4, 30)
    answers = Answers(likeliest(scores, 4).numpy(), labels.numpy())
    rng, said, true = np.random.default_rng(7), answers.answers[:, 0], labels.numpy()
    drawings = [rng.integers(30, size=30) for _ in range(1000)]
    for name, figure in (("top1", lambda s, t: float((s == t).mean())), ("macro_f1", macro_f1)):
        values = [figure(said[rows], true[rows]) for rows in drawings]
        wanted = 100 * np.quantile(values, (0.025, 0.975))
        assert answers.bootstrap(7)[name] == pytest.approx(wanted.tolist(), abs=1e-3)


@pytest.mark.parametrize("k", [1, 3])
def test_a_class_for_which_no_neighbor_votes_is_no_answer(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    bank, labels = torch.randn(40, 6, generator=generator), torch.arange(40) % 8
    queries, true = torch.randn(30, 1, 6, generator=generator), torch.arange(30) % 8
    answers = Answers(likeliest(KNNClassifier(bank, labels, 8, k)(queries), 5).numpy(), true.numpy())
    assert ((answers.answers >= 0).sum(axis=1) <= k).all()
    if k == 1:
        assert answers.top5 == answers.top1


def test_one_labeled_image_is_a_bank_too() -> None:
    votes = KNNClassifier(torch.ones(1, 4), torch.tensor([1]), 3)(torch.randn(2, 1, 4))
    assert likeliest(votes, 3).tolist() == [[1, -1, -1]] * 2
