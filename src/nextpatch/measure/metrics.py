"""What a classifier's answers on the test images amount to, each figure with the chance that is in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from nextpatch.core.random import bootstrap_rng

TOP = 5
_Z95 = 1.959964
_RESAMPLED = 1000


def likeliest(scores: Float[Tensor, "*images classes"], top: int = TOP) -> Int64[Tensor, "*images top"]:
    """The classes with the highest scores, the highest first; of equal scores the class with the lower number.

    A score of minus infinity is no answer (-1): a class for which no neighbor votes is not among the likeliest.
    """
    found = scores.sort(dim=-1, descending=True, stable=True)
    values, classes = found.values[..., :top], found.indices[..., :top]
    return classes.masked_fill(values == -torch.inf, -1)


@dataclass(frozen=True)
class Answers:
    """A classifier's answers: for each test image the likeliest classes, the likeliest first, and the true one.

    Where a classifier names fewer classes than there are places, the rest of the places hold -1.
    """

    answers: Int64[np.ndarray, "tested top"]
    labels: Int64[np.ndarray, " tested"]

    @property
    def right(self) -> Bool[np.ndarray, " tested"]:
        """Which images it got right."""
        found: np.ndarray = self.answers[:, 0] == self.labels
        return found

    @property
    def top1(self) -> float:
        """Percent right."""
        return 100 * float(self.right.mean())

    @property
    def top5(self) -> float:
        """Percent whose class is among the five likeliest."""
        return 100 * float((self.answers == self.labels[:, None]).any(axis=1).mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`: the chance of having drawn these test images, nothing else."""
        n, p, zz = len(self.labels), float(self.right.mean()), _Z95**2
        middle, half = p + zz / (2 * n), _Z95 * (p * (1 - p) / n + zz / (4 * n * n)) ** 0.5
        return 100 * (middle - half) / (1 + zz / n), 100 * (middle + half) / (1 + zz / n)

    @cached_property
    def classes(self) -> int:
        """How many classes there are, as far as answers and labels know."""
        return int(max(self.answers.max(), self.labels.max())) + 1

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur, in percent."""
        return 100 * float(multiclass_f1_score(*self._tensors(), num_classes=max(2, self.classes), average="macro"))

    @property
    def per_class(self) -> dict[int, float]:
        """Percent right of each class that was tested."""
        found = multiclass_accuracy(*self._tensors(), num_classes=max(2, self.classes), average=None)
        return {int(c): round(100 * float(found[c]), 3) for c in np.unique(self.labels)}

    def figures(self) -> dict[str, Any]:
        """Accuracies in percent with three digits after the point, by the names that results and their files use."""
        low, high = self.ci95
        return {
            "test_top1": round(self.top1, 3), "test_ci95": (round(low, 3), round(high, 3)),
            "test_top5": round(self.top5, 3), "test_macro_f1": round(self.macro_f1, 3),
            "test_per_class": {str(number): top1 for number, top1 in self.per_class.items()},
        }  # fmt: skip

    def bootstrap(self, seed: int) -> dict[str, tuple[float, float]]:
        """95 % intervals of "top1" and "macro_f1" from drawing the test images again 1,000 times, in percent."""
        rng, n, k = bootstrap_rng(seed), len(self.labels), self.classes
        given = self.answers[:, 0]
        tops, scores = np.empty(_RESAMPLED), np.empty(_RESAMPLED)
        for i in range(_RESAMPLED):
            drawn = rng.integers(n, size=n)
            true, said = self.labels[drawn], given[drawn]
            right = np.bincount(true[true == said], minlength=k)
            seen, claimed = np.bincount(true, minlength=k), np.bincount(said, minlength=k)
            occurs = seen + claimed > 0
            tops[i], scores[i] = right.sum() / n, (2 * right[occurs] / (seen + claimed)[occurs]).mean()
        return {name: _interval(values) for name, values in (("top1", tops), ("macro_f1", scores))}

    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.answers[:, 0].copy()), torch.from_numpy(self.labels.copy())


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return round(100 * float(low), 3), round(100 * float(high), 3)
