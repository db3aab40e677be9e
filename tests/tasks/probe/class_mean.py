"""A kind of probe that nextpatch does not have: the nearest class mean. All that a new kind needs is in this file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextpatch.tasks.probe.evaluator import BatchLearner, Candidate, Evaluator, ProbeData


class ClassMean(nn.Module):
    """Minus the distance to the mean of each class."""

    def __init__(self, vectors: Tensor, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.means = torch.stack([vectors[labels == c].mean(dim=0) for c in range(num_classes)])

    def forward(self, features: Tensor) -> Tensor:
        """Scores of features "batch patches dim"."""
        return -torch.cdist(features.mean(dim=1), self.means)


def select(data: ProbeData, _: BatchLearner | None) -> list[Candidate]:
    """There is nothing to choose but the layers."""
    found = []
    for vectors, queries in zip(data.train_vectors.features, data.select_vectors.features, strict=True):
        fitted = ClassMean(vectors, data.train_vectors.labels, data.setup.num_classes)
        right = fitted(queries[:, None]).argmax(dim=1) == data.select_vectors.labels
        found.append(Candidate(100 * float(right.float().mean()), lambda fitted=fitted: fitted))
    return found


CLASS_MEAN = Evaluator(select)
