"""k nearest neighbors: what the features say without any training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.tasks.probe.evaluator import BatchLearner, Candidate, Evaluator, ProbeData
from nextpatch.weights.pooling import RegionMeans
from nextpatch.weights.whitening import Space, standardized, whitened

_TEMPERATURE = 0.07
_CHUNK = 1024
_MANY = 1_000_000


class KNNClassifier(nn.Module):
    """A vote of the k training images with the most similar vector.

    Vectors are compared in `space`, which is fitted to the training images (default: standardized); similarity is the
    cosine, and a vote weighs exp(similarity / 0.07), as is usual for frozen features (DINO).
    """

    def __init__(
        self, features: Float[Tensor, "images dim"], labels: Int[Tensor, " images"], num_classes: int, k: int = 1,
        pool: RegionMeans | None = None, space: Space | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool, self.space = pool or RegionMeans(), space or standardized(features)
        self.bank = self.space(features)
        self.votes = F.one_hot(labels, num_classes).to(features.dtype)
        self.k = k
        self._index = _faiss(self.bank)

    def forward(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Votes per class; minus infinity for a class without a vote, which is no answer."""
        votes = self.votes_at(self.pool(features), [self.k])[0]
        return votes.masked_fill(votes == 0, -torch.inf)

    def votes_at(self, pooled: Float[Tensor, "batch dim"], ks: Sequence[int]) -> Float[Tensor, "ks batch classes"]:
        """Votes for several k at the cost of the largest."""
        query = self.space(pooled)
        parts = []
        for chunk in torch.split(query, _CHUNK):
            similarity, nearest = self._search(chunk, min(max(ks), len(self.bank)))
            weighted = self.votes[nearest] * ((similarity - 1) / _TEMPERATURE).exp()[:, :, None]
            parts.append(torch.stack([weighted[:, :k].sum(dim=1) for k in ks]))
        return torch.cat(parts, dim=1)

    def _search(self, chunk: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """(cosines, rows) of the nearest rows of the bank, exactly; beyond a million by faiss, where it is here."""
        if self._index is None:
            found = (chunk @ self.bank.T).topk(count, dim=1)
            return found.values, found.indices
        values, rows = self._index.search(chunk.cpu().numpy(), count)
        return torch.from_numpy(values), torch.from_numpy(rows)


def _faiss(bank: Tensor) -> Any:
    """An exact index of faiss; None where it is not installed, or the bank is small enough without."""
    if len(bank) <= _MANY:
        return None
    try:
        import faiss
    except ImportError:
        return None
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(bank.cpu().numpy())
    return index


def _select(data: ProbeData, _: BatchLearner | None) -> list[Candidate]:
    """Each layer set in its best space, at its best k."""
    train, images, pool = data.train_regions, data.select_regions, data.train.extract.pool
    ks = sorted({min(k, len(train.labels)) for k in data.setup.cfg.neighbors})
    found = []
    for bank, queries in zip(train.features, images.features, strict=True):
        tried = [
            KNNClassifier(bank, train.labels, data.setup.num_classes, 1, pool, space) for space in _spaces(bank, data)
        ]
        found.append(max((_at_best_k(one, ks, queries, images.labels) for one in tried), key=lambda c: c.select_top1))
    return found


def _spaces(bank: Float[Tensor, "images dim"], data: ProbeData) -> list[Space]:
    """Those that are tried; only the standardized one where the mean of all patches is asked for, as is usual."""
    usual = standardized(bank)
    return [usual] if data.setup.cfg.pooling == "mean" else [usual, *whitened(bank)]


def _at_best_k(
    nearest: KNNClassifier, ks: Sequence[int], queries: Float[Tensor, "images dim"], labels: Int[Tensor, " images"]
) -> Candidate:
    right = (nearest.votes_at(queries, ks).argmax(dim=-1) == labels).float().mean(dim=1)
    nearest.k = ks[int(right.argmax())]
    return Candidate(100 * float(right.max()), lambda: nearest, k=nearest.k)


KNN = Evaluator(_select)
