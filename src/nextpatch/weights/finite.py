"""Features and scores that are not finite are an error that names the layer and the image, not a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.weights.error import WeightsError


def check_features_finite(values: Mapping[str, Tensor], keys: Sequence[str], weights: str) -> None:
    """WeightsError when a number of `values`, by layer, each with one entry per image of `keys`, is NaN or infinite."""
    for name, found in values.items():
        if bool(torch.isfinite(found).all()):
            continue
        image = int((~torch.isfinite(found.flatten(1)).all(dim=1)).nonzero()[0])
        raise WeightsError(
            f"{shown(weights)}: {shown(name)} of {shown(keys[image])} holds numbers that are not finite. Weights that "
            "were damaged or trained to infinity give such; use other ones, or another checkpoint"
        )
