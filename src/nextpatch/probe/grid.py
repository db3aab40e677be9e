"""All probes of a grid (layer sets x learning rates) in one pass, with nothing computed twice.

Keys and values are never computed per patch, and the batch norm has no parameters, so all learning rates share it: see
`AttentiveClassifier`, which each probe of the grid equals. Source: equation 4, Table 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.attentive import AttentiveClassifier


class Grid(nn.Module):
    """Probes by learning rate and layer set: every parameter is [lr, set, ...], so that each rate's are contiguous."""

    def __init__(self, sets: int, lrs: Sequence[float], dim: int, num_classes: int, num_heads: int, seed: int) -> None:
        super().__init__()
        self.lrs, self.dim, self.num_heads, self.num_classes = tuple(lrs), dim, num_heads, num_classes
        self.norms = nn.ModuleList(batch_norm(dim) for _ in range(sets))
        start = self._start(torch.Generator().manual_seed(seed))
        self.probes = nn.ParameterDict({name: v.expand(len(lrs), sets, *v.shape).clone() for name, v in start.items()})

    def _start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Of one probe; the same for all, so that a probe does not depend on the grid it is in."""
        raise NotImplementedError

    def logits(self, x: Tensor) -> Float[Tensor, "lrs sets batch classes"]:
        """[lr, set, batch, class] of every probe from normalized features."""
        raise NotImplementedError

    def classifier(self, s: int, g: int) -> nn.Module:
        """The probe of set `s` and learning rate `g`, by itself."""
        raise NotImplementedError

    def forward(self, features: Float[Tensor, "sets batch patches dim"]) -> Float[Tensor, "sets lrs batch classes"]:
        """Class logits of every probe; in training the batch norms take in the batch."""
        x = self.pooled(features)
        normed = [norm(f.flatten(0, -2)).view_as(f) for norm, f in zip(self.norms, x, strict=True)]
        return self.logits(torch.stack(normed)).transpose(0, 1)

    def pooled(self, features: Tensor) -> Tensor:
        """What the batch norm sees."""
        return features

    def own(self, name: str, s: int, g: int) -> Tensor:
        """One parameter of one probe."""
        return self.probes.get_parameter(name).detach()[g, s].clone()


class AttentiveGrid(Grid):
    """Attentive probes: a learned query pools the patches in every head."""

    def _start(self, generator: torch.Generator) -> dict[str, Tensor]:
        d = self.dim
        bound = (3 / d) ** 0.5  # Xavier, for a square matrix
        return {
            "query": torch.randn(d, generator=generator) * 0.02,
            "key": torch.empty(d, d).uniform_(-bound, bound, generator=generator),
            "value": torch.empty(d, d).uniform_(-bound, bound, generator=generator),
            "linear": torch.randn(self.num_classes, d, generator=generator) * 0.01,
            "bias": torch.zeros(self.num_classes),
        }

    def logits(self, x: Float[Tensor, "sets batch patches dim"]) -> Float[Tensor, "lrs sets batch classes"]:
        """Softmax over patches of q_h W_h^k . p, then W_h^v of the weighted sum of p, then linear."""
        sets, batch, patches, dim = x.shape
        lrs, heads = len(self.lrs), self.num_heads
        query = self.probes["query"].view(lrs, sets, heads, 1, -1)
        key, value = (self.probes[name].view(lrs, sets, heads, -1, dim) for name in ("key", "value"))
        folded = (query @ key).transpose(0, 1).reshape(sets, lrs * heads, dim) / query.shape[-1] ** 0.5
        scores = x.view(sets, batch * patches, dim) @ folded.transpose(1, 2)
        attention = scores.view(sets, batch, patches, -1).softmax(dim=2).transpose(2, 3)
        pooled = (attention @ x).view(sets, batch, lrs, heads * dim)
        linear, bias = self.probes["linear"], self.probes["bias"][:, :, None]
        if _folding_is_cheaper(batch, dim, heads, self.num_classes):
            by_head = linear.view(lrs, sets, -1, heads, dim // heads).transpose(2, 3) @ value
            whole = by_head.transpose(3, 4).reshape(lrs, sets, heads * dim, -1)
            by_set = [p.transpose(0, 1) @ whole[:, s] for s, p in enumerate(pooled)]
            joined: Tensor = torch.stack(by_set, dim=1) + bias
            return joined
        per_head = pooled.view(sets, batch, lrs, heads, dim).permute(2, 0, 3, 1, 4)
        values = (per_head @ value.transpose(-1, -2)).transpose(2, 3).flatten(3)
        out: Tensor = values @ linear.transpose(-1, -2) + bias
        return out

    def classifier(self, s: int, g: int) -> AttentiveClassifier:
        """The probe in the layout of the released heads."""
        probe = AttentiveClassifier(self.dim, self.num_heads, self.num_classes)
        probe.bn = _copied(self.norms[s])
        state = {"cls_token": self.own("query", s, g).view(1, 1, -1), "linear.bias": self.own("bias", s, g)}
        for theirs, ours in (("k", "key"), ("v", "value"), ("linear", "linear")):
            state[f"{theirs}.weight"] = self.own(ours, s, g)
        probe.load_state_dict(state, strict=False)
        return probe.eval()


class LinearClassifier(nn.Module):
    """Mean of the patches -> batch norm without affine -> linear."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.bn = batch_norm(dim)
        self.linear = nn.Linear(dim, num_classes)

    def forward(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits."""
        out: Tensor = self.linear(self.bn(features.mean(dim=1)))
        return out


class LinearGrid(Grid):
    """Linear probes on the mean of the patches."""

    def _start(self, generator: torch.Generator) -> dict[str, Tensor]:
        weight = torch.randn(self.num_classes, self.dim, generator=generator) * 0.01
        return {"linear": weight, "bias": torch.zeros(self.num_classes)}

    def pooled(self, features: Float[Tensor, "sets batch patches dim"]) -> Float[Tensor, "sets batch dim"]:
        """Mean over patches."""
        return features.mean(dim=2)

    def logits(self, x: Float[Tensor, "sets batch dim"]) -> Float[Tensor, "lrs sets batch classes"]:
        """Linear."""
        out: Tensor = x @ self.probes["linear"].transpose(-1, -2) + self.probes["bias"][:, :, None]
        return out

    def classifier(self, s: int, g: int) -> LinearClassifier:
        """The probe by itself."""
        probe = LinearClassifier(self.dim, self.num_classes)
        probe.bn = _copied(self.norms[s])
        probe.linear.load_state_dict({"weight": self.own("linear", s, g), "bias": self.own("bias", s, g)})
        return probe.eval()


def _folding_is_cheaper(batch: int, dim: int, heads: int, classes: int) -> bool:
    """Whether (linear W^v) pooled takes fewer multiplications than linear (W^v pooled); the result is the same."""
    return classes * dim * (dim + batch * heads) < batch * dim * (dim + classes)


def batch_norm(dim: int) -> nn.BatchNorm1d:
    """BatchNorm without affine. Features are frozen, so its running statistics are plain means over all batches."""
    return nn.BatchNorm1d(dim, eps=1e-6, momentum=None, affine=False)


def _copied(norm: nn.Module) -> nn.BatchNorm1d:
    assert isinstance(norm, nn.BatchNorm1d)
    copy = batch_norm(norm.num_features)
    copy.load_state_dict(norm.state_dict())
    return copy


def grid_loss(
    logits: Float[Tensor, "sets lrs batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, "sets lrs"]:
    """Cross-entropy of every probe, mean over the batch; their sum has each probe's own gradients."""
    spread = labels.expand(*logits.shape[:2], -1)
    return F.cross_entropy(logits.flatten(0, 2), spread.flatten(), reduction="none").view_as(spread).mean(dim=-1)
