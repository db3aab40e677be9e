"""Linear probes on the mean of the patches, behind a batch norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.tasks.probe.gradient import by_gradients
from nextpatch.tasks.probe.grid import Grid, Moments, batch_norm, copied


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

    def pooled(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch dim"]:
        """Mean over patches."""
        return features.mean(dim=1)

    def set_logits(
        self, x: Float[Tensor, "batch dim"], moments: Moments, own: Mapping[str, Tensor]
    ) -> Float[Tensor, "lrs batch classes"]:
        """Linear."""
        p = (x - moments.mean) / moments.var.sqrt()
        out: Tensor = p @ own["linear"].transpose(-1, -2) + own["bias"][:, None]
        return out

    def classifier(self, s: int, g: int) -> LinearClassifier:
        """The probe by itself."""
        probe = LinearClassifier(self.dim, self.num_classes)
        probe.bn = copied(self.norms[s])
        probe.linear.load_state_dict({"weight": self.own("linear", s, g), "bias": self.own("bias", s, g)})
        return probe.eval()


LINEAR = by_gradients(LinearGrid)
