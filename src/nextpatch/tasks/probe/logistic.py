"""Logistic regression on one vector an image: the classic measure of few labels, solved to its optimum."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.config import ConfigError
from nextpatch.tasks.probe.evaluator import BatchLearner, Candidate, Evaluator, ProbeData
from nextpatch.weights.pooling import RegionMeans

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the squared weights, per image
_ITERATIONS = 200


class Logistic(nn.Module):
    """Standardized vector -> linear; the vector is what `pool` makes of the patches."""

    def __init__(
        self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, pool: RegionMeans | None = None
    ) -> None:
        super().__init__()
        self.pool = pool or RegionMeans()
        self.mean, self.scale, self.weight, self.bias = mean, scale, weight, bias

    def forward(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits."""
        return self.on_vectors(self.pool(features))

    def on_vectors(self, vectors: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits of vectors."""
        return F.linear((vectors - self.mean) / self.scale, self.weight, self.bias)


def need_scipy() -> None:
    """ConfigError, which says what to install, when no optimum can be found here."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        raise ConfigError("logistic regression needs SciPy; pip install 'nextpatch[measure]'") from None


def logistic_path(
    vectors: Float[Tensor, "images dim"], labels: Int[Tensor, " images"], num_classes: int,
    pool: RegionMeans | None = None,
) -> list[Logistic]:  # fmt: skip
    """One classifier per penalty, from the largest to the smallest, each begun where the one before ended (scipy's
    L-BFGS in float64); the loss is the mean cross-entropy plus half the penalty times the squared weights."""
    from scipy.optimize import minimize

    mean, scale = vectors.mean(dim=0), vectors.std(dim=0, correction=0).clamp_min(1e-6)
    x, count, dim = ((vectors - mean) / scale).double(), num_classes, vectors.shape[1]

    def loss(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(flat).view(count, dim + 1)
        probable = F.linear(x, point[:, :dim], point[:, dim]).log_softmax(dim=1)
        value = F.nll_loss(probable, labels) + penalty / 2 * point[:, :dim].square().sum()
        error = (probable.exp() - F.one_hot(labels, count)) / len(labels)
        gradient = torch.cat([error.T @ x + penalty * point[:, :dim], error.sum(dim=0)[:, None]], dim=1)
        return float(value), gradient.flatten().numpy()

    point, found = np.zeros(count * (dim + 1)), []
    for penalty in sorted(PENALTIES, reverse=True):
        point = minimize(loss, point, (penalty,), "L-BFGS-B", jac=True, options={"maxiter": _ITERATIONS}).x
        solved = torch.from_numpy(point).view(count, dim + 1).to(vectors.dtype)
        found.append(Logistic(mean, scale, solved[:, :dim].clone(), solved[:, dim].clone(), pool))
    return found


def _select(data: ProbeData, _: BatchLearner | None) -> list[Candidate]:
    """Each layer set at its best penalty."""
    train, images = data.train_regions, data.select_regions
    return [
        _at_best_penalty(
            logistic_path(vectors, train.labels, data.setup.num_classes, data.train.extract.pool),
            queries,
            images.labels,
        )
        for vectors, queries in zip(train.features, images.features, strict=True)
    ]


def _at_best_penalty(
    fitted: list[Logistic], queries: Float[Tensor, "images dim"], labels: Int[Tensor, " images"]
) -> Candidate:
    scores = [(m.on_vectors(queries).argmax(dim=-1) == labels).float().mean().item() for m in fitted]
    at = max(range(len(scores)), key=scores.__getitem__)
    return Candidate(100 * scores[at], lambda: fitted[at])


LOGISTIC = Evaluator(_select, need=need_scipy)
