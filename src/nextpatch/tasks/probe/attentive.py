"""Attentive probes: a learned query pools the patches in every head. Source: equation 4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.tasks.probe.evaluator import Choice, SavedWith
from nextpatch.tasks.probe.gradient import by_gradients
from nextpatch.tasks.probe.grid import Grid, Moments, copied
from nextpatch.weights.classifier import ClassifierHead, save_classifier_head


class AttentiveGrid(Grid):
    """Keys and values are never computed per patch."""

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

    def set_logits(
        self, x: Float[Tensor, "batch patches dim"], moments: Moments, own: Mapping[str, Tensor]
    ) -> Float[Tensor, "lrs batch classes"]:
        """Softmax over patches of q_h W_h^k . p, then W_h^v of the weighted sum of p, then linear.

        p = (x - mean) / std is never made: the mean adds the same to all scores of a head, which a softmax does not
        see, and weights that add up to one let it be taken off the weighted sum instead.
        """
        batch, patches, dim = x.shape
        lrs, heads = len(self.lrs), self.num_heads
        query = own["query"].reshape(lrs, heads, 1, -1)
        key, value = (own[name].reshape(lrs, heads, -1, dim) for name in ("key", "value"))
        std = moments.var.sqrt()
        folded = (query @ key).reshape(lrs * heads, dim) / (query.shape[-1] ** 0.5 * std)
        scores = x.reshape(batch * patches, dim) @ folded.T
        attention = scores.view(batch, patches, -1).softmax(dim=1).transpose(1, 2)
        pooled = ((attention @ x - moments.mean) / std).view(batch, lrs, heads, dim)
        linear, bias = own["linear"], own["bias"][:, None]
        if _folding_is_cheaper(batch, dim, heads, self.num_classes):
            by_head = linear.reshape(lrs, -1, heads, dim // heads).transpose(1, 2) @ value
            whole = by_head.transpose(2, 3).reshape(lrs, heads * dim, -1)
            joined: Tensor = pooled.transpose(0, 1).flatten(2) @ whole + bias
            return joined
        values = (pooled.permute(1, 2, 0, 3) @ value.transpose(-1, -2)).transpose(1, 2).flatten(2)
        out: Tensor = values @ linear.transpose(-1, -2) + bias
        return out

    def classifier(self, s: int, g: int) -> AttentiveClassifier:
        """The probe in the layout of the released heads."""
        probe = AttentiveClassifier(self.dim, self.num_heads, self.num_classes)
        probe.bn = copied(self.norms[s])
        state = {"cls_token": self.own("query", s, g).view(1, 1, -1), "linear.bias": self.own("bias", s, g)}
        for theirs, ours in (("k", "key"), ("v", "value"), ("linear", "linear")):
            state[f"{theirs}.weight"] = self.own(ours, s, g)
        probe.load_state_dict(state, strict=False)
        return probe.eval()


def _folding_is_cheaper(batch: int, dim: int, heads: int, classes: int) -> bool:
    """Whether (linear W^v) pooled takes fewer multiplications than linear (W^v pooled); the result is the same."""
    return classes * dim * (dim + batch * heads) < batch * dim * (dim + classes)


def _save(folder: Path, choice: Choice, kept_with: SavedWith) -> None:
    """probe.safetensors, which goes with the weights from then on."""
    probe, info = choice.classifier, kept_with.info
    assert isinstance(probe, AttentiveClassifier)
    seen = (info.img_size, info.preprocessing, info.attention) if info else ()
    head = ClassifierHead(probe, tuple(choice.layers), kept_with.classes, kept_with.trunk, *seen)
    save_classifier_head(folder / "probe.safetensors", head)


ATTENTIVE = by_gradients(AttentiveGrid, _save)
