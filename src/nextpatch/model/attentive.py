"""The attentive classifier of equation 4, as released with the weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig


class AttentiveClassifier(nn.Module):
    """BatchNorm without affine -> one learned query pools the patches in every head -> linear classifier.

    Neither keys nor values are computed per patch: q_h . W_h^k p = (W_h^k' q_h) . p, and the weighted sum of W_h^v p is
    W_h^v applied to the weighted sum of p. Exactly equal in real numbers, about 2 K d^2 operations an image cheaper.
    Scores are scaled by 1/sqrt(d_h), as in the released heads (the paper's equation omits it). Parameters carry the
    released names.
    """

    def __init__(self, dim: int, num_heads: int, num_classes: int, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.bn = nn.BatchNorm1d(dim, eps=1e-6, affine=False)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.linear = nn.Linear(dim, num_classes, bias=bias)

    def forward(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits from patch features (raw block outputs, averaged over the probed layers)."""
        out: Tensor = self.linear(self.pooled(features))
        return out

    def pooled(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch dim"]:
        """The values that each head's attention pools, side by side: what the linear classifier sees."""
        p = self.bn(features.flatten(0, 1)).view_as(features)
        pooled = torch.einsum("bhn,bnd->bhd", self.attention(p), p)
        values = self.v.weight.view(self.num_heads, -1, self.v.in_features)
        out: Tensor = torch.einsum("bhd,hed->bhe", pooled, values).flatten(1)
        return out

    def attention(self, p: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch heads patches"]:
        """Attention of each head over the patches, for features that are batch-normalized already."""
        return torch.einsum("hd,bnd->bhn", self.folded_query(), p).softmax(dim=-1)

    def folded_query(self) -> Float[Tensor, "heads dim"]:
        """W_h^k' q_h / sqrt(d_h): one dot product with a patch is its score."""
        keys = self.k.weight.view(self.num_heads, -1, self.k.in_features)
        query = self.cls_token.view(self.num_heads, -1)
        folded: Tensor = torch.einsum("he,hed->hd", query, keys) / query.shape[1] ** 0.5
        return folded


def probe_heads(dim: int, trunk_heads: int) -> int:
    """Attention heads of a probe of a trunk: as many as it has, which is the paper's; narrow ones have too few.

    With fewer than 12 it is the first number from 24 on, else the largest, that divides the width and leaves 4 values
    or more a head (docs/log.md).
    """
    fitting = [heads for heads in range(trunk_heads, dim // 4 + 1) if dim % heads == 0]
    if trunk_heads >= 12 or not fitting:
        return trunk_heads
    return next((heads for heads in fitting if heads >= 24), fitting[-1])


def probe_flops(cfg: ModelConfig, classes: int, batch: int) -> float:
    """Operations of forward and backward of one attentive probe of the grid, per image, in steps of `batch` images.

    With h heads: scores and weighted sums are 2 n d h each, and as much again for their gradients; W^v and the linear
    layer act on one vector, 2 d^2 and 2 d c, three times with backward; folding the query into the keys, 6 d^2, is
    shared by the batch. Where the linear layer is folded into the values (few classes), it is at most this.
    """
    d, n = cfg.shape.embed_dim, cfg.num_patches
    h = probe_heads(d, cfg.shape.num_heads)
    return 8 * n * d * h + 6 * d * d + 6 * d * classes + 6 * d * d / batch


def plain_probe_flops(cfg: ModelConfig, classes: int) -> float:
    """The same with a key and a value for every patch, as equation 4 is written: 2 n d^2 each, twice with backward."""
    d, n = cfg.shape.embed_dim, cfg.num_patches
    return 8 * n * d * d + 12 * n * d + 6 * d * classes
