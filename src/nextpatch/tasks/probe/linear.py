"""Linear probes on one vector an image, behind a batch norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.tasks.probe.gradient import by_gradients
from nextpatch.tasks.probe.grid import Grid, Moments, batch_norm, copied
from nextpatch.weights.pooling import RegionMeans


class LinearClassifier(nn.Module):
    """Means of the patches -> batch norm without affine -> linear; `dim` values in a vector."""

    def __init__(self, dim: int, num_classes: int, pool: RegionMeans | None = None) -> None:
        super().__init__()
        self.pool = pool or RegionMeans()
        self.bn = batch_norm(dim)
        self.linear = nn.Linear(dim, num_classes)

    def forward(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits."""
        out: Tensor = self.linear(self.bn(self.pool(features)))
        return out


class LinearGrid(Grid):
    """Linear probes on the means of the patches."""

    on_vectors = True

    def _start(self, generator: torch.Generator) -> dict[str, Tensor]:
        weight = torch.randn(self.num_classes, self.dim, generator=generator) * 0.01
        return {"linear": weight, "bias": torch.zeros(self.num_classes)}

    def pooled(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch values"]:
        """Means over patches."""
        out: Tensor = self.pool(features)
        return out

    def set_logits(
        self, x: Float[Tensor, "batch dim"], moments: Moments, own: Mapping[str, Tensor]
    ) -> Float[Tensor, "lrs batch classes"]:
        """Linear."""
        p = (x - moments.mean) / moments.var.sqrt()
        out: Tensor = p @ own["linear"].transpose(-1, -2) + own["bias"][:, None]
        return out

    def classifier(self, s: int, g: int) -> LinearClassifier:
        """The probe by itself."""
        probe = LinearClassifier(self.dim, self.num_classes, self.pool)
        probe.bn = copied(self.norms[s])
        probe.linear.load_state_dict({"weight": self.own("linear", s, g), "bias": self.own("bias", s, g)})
        return probe.eval()


LINEAR = by_gradients(LinearGrid)
