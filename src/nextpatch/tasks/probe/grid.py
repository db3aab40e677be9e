"""All probes of a grid (layer sets x learning rates) in one pass, with nothing computed twice.

Keys and values are never computed per patch, and the batch norm has no parameters, so all learning rates share it: see
`AttentiveClassifier`, which each probe of the grid equals. Source: equation 4, Table 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.random import torch_generator
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.weights.pooling import RegionMeans

_PIECE = 512  # rows at a time


class Grid(nn.Module):
    """Probes by learning rate and layer set: every parameter is [lr, set, ...], so that each rate's are contiguous.

    `dim`: values of a patch, or of an image's vector where a kind is `on_vectors`, which `pool` gives.
    """

    on_vectors: ClassVar[bool] = False

    def __init__(
        self, sets: int, lrs: Sequence[float], dim: int, num_classes: int, num_heads: int, seed: int,
        pool: RegionMeans | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool = pool or RegionMeans()
        self.lrs, self.dim, self.num_heads, self.num_classes = tuple(lrs), dim, num_heads, num_classes
        self.norms = nn.ModuleList(batch_norm(dim) for _ in range(sets))
        start = self._start(torch_generator(seed))
        self.probes = nn.ParameterDict({name: v.expand(len(lrs), sets, *v.shape).clone() for name, v in start.items()})

    def _start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Of one probe; the same for all, so that a probe does not depend on the grid it is in."""
        raise NotImplementedError

    def set_logits(self, x: Tensor, moments: Moments, own: Mapping[str, Tensor]) -> Float[Tensor, "lrs batch classes"]:
        """Logits of every learning rate's probe of one set: from what `pooled` gives, its moments, and the set's
        parameters [lr, ...]."""
        raise NotImplementedError

    def classifier(self, s: int, g: int) -> nn.Module:
        """The probe of set `s` and learning rate `g`, by itself."""
        raise NotImplementedError

    def forward(self, features: Float[Tensor, "sets batch patches dim"]) -> Float[Tensor, "sets lrs batch classes"]:
        """Class logits of every probe; in training the batch norms take in the batch."""
        return torch.stack([self.of_set(s, f, self.parameters_of(s)) for s, f in enumerate(features)])

    def of_set(
        self, s: int, features: Float[Tensor, "batch patches dim"], own: Mapping[str, Tensor], ranks: Ranks = ALONE
    ) -> Float[Tensor, "lrs batch classes"]:
        """Class logits of the probes of one set, with the given parameters; in training its batch norm takes in the
        batch, of all ranks."""
        x = self.pooled(features)
        return self.set_logits(x, self._moments(self.norms[s], x, ranks), own)

    def parameters_of(self, s: int) -> dict[str, Tensor]:
        """The parameters of one set's probes, [lr, ...]."""
        return {name: value[:, s] for name, value in self.probes.items()}

    def pooled(self, features: Tensor) -> Tensor:
        """What the batch norm sees."""
        return features

    def own(self, name: str, s: int, g: int) -> Tensor:
        """One parameter of one probe."""
        return self.probes.get_parameter(name).detach()[g, s].clone()

    def _moments(self, norm: nn.Module, x: Tensor, ranks: Ranks) -> Moments:
        """What the batch norm would normalize by; its running statistics take in the batch, as its own code does."""
        assert isinstance(norm, nn.BatchNorm1d)
        mean, var, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
        assert mean is not None
        assert var is not None
        assert count is not None
        if not self.training:
            return Moments(mean, var + norm.eps)
        with torch.no_grad():
            rows = x.flatten(0, -2)
            found, size = batch_moments(rows, ranks), len(rows) * ranks.size
            count += 1
            share = 1.0 / int(count)
            mean += share * (found.mean - mean)
            var += share * (found.var * (size / max(1, size - 1)) - var)
        return Moments(found.mean, found.var + norm.eps)


class Moments(NamedTuple):
    """Mean and variance of every channel."""

    mean: Float[Tensor, " dim"]
    var: Float[Tensor, " dim"]


def batch_moments(rows: Float[Tensor, "rows dim"], ranks: Ranks) -> Moments:
    """Mean and biased variance of every channel over the rows of all ranks, each of which has as many."""
    mean, var = _moments_on_cpu(rows) if rows.device.type == "cpu" else torch.var_mean(rows, dim=0, correction=0)[::-1]
    if ranks.size == 1:
        return Moments(mean, var)
    both = ranks.all_mean(torch.stack([mean, var + mean * mean]).double())
    return Moments(both[0].to(mean.dtype), (both[1] - both[0] * both[0]).clamp_min(0).to(var.dtype))


def _moments_on_cpu(rows: Float[Tensor, "rows dim"]) -> tuple[Tensor, Tensor]:
    """`torch.var_mean` down the columns, four times as fast: in pieces that stay in the cache, as products with ones.

    Everything is measured from the first piece's mean, so that channels far from zero lose no digits.
    """
    near = rows[:_PIECE].mean(dim=0)
    ones = rows.new_ones(1, _PIECE)
    total, squares = torch.zeros(2, rows.shape[1], dtype=torch.float64)
    for piece in torch.split(rows, _PIECE):
        apart = piece - near
        total += (ones[:, : len(piece)] @ apart)[0]
        squares += (ones[:, : len(piece)] @ apart.square_())[0]
    shift = total / len(rows)
    var = (squares / len(rows) - shift * shift).clamp_min(0)
    return (near + shift).to(rows.dtype), var.to(rows.dtype)


def batch_norm(dim: int) -> nn.BatchNorm1d:
    """BatchNorm without affine. Features are frozen, so its running statistics are plain means over all batches."""
    return nn.BatchNorm1d(dim, eps=1e-6, momentum=None, affine=False)


def copied(norm: nn.Module) -> nn.BatchNorm1d:
    """The same batch norm once more."""
    assert isinstance(norm, nn.BatchNorm1d)
    copy = batch_norm(norm.num_features)
    copy.load_state_dict(norm.state_dict())
    return copy


def grid_loss(logits: Float[Tensor, "lrs batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, "lrs batch"]:
    """Cross-entropy of every probe for every image; their sum has each probe's own gradients."""
    spread = labels.expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), spread.flatten(), reduction="none").view_as(spread)
