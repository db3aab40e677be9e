"""Features as pictures: principal components as colours, and where the attentive probe looks."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.model.aim import AIM
from nextpatch.tasks.report.images import heat_image
from nextpatch.weights.backbone import mean_of
from nextpatch.weights.classifier import mark_of, read_classifier_head
from nextpatch.weights.error import WeightsError


def principal_colors(
    features: Float[Tensor, "batch patches dim"], grid: tuple[int, int]
) -> tuple[Float[Tensor, "batch 3 rows columns"], list[float]]:
    """The first three principal components of all patches together as red, green and blue, and their shares.

    Every feature is standardized first, as the probes do, so that a few large ones do not decide alone. The sign of a
    component, which means nothing, is fixed by its largest loading.
    """
    flat = features.flatten(0, 1).double()
    flat = (flat - flat.mean(dim=0)) / (flat.std(dim=0) + 1e-6)
    _, singular, loadings = torch.linalg.svd(flat, full_matrices=False)
    top = loadings[:3] * loadings[:3].gather(1, loadings[:3].abs().argmax(dim=1, keepdim=True)).sign()
    scores = flat @ top.T
    low, high = scores.quantile(0.02, dim=0), scores.quantile(0.98, dim=0)
    colors = ((scores - low) / (high - low).clamp(min=1e-9)).clamp(0, 1).float()
    shares = singular.square() / singular.square().sum().clamp(min=1e-12)
    return colors.view(len(features), *grid, -1).permute(0, 3, 1, 2), shares[:3].tolist()


def attention_maps(
    model: AIM, inputs: Float[Tensor, "batch channels height width"], probe: Path
) -> tuple[Float[Tensor, "batch rows columns"], list[str]]:
    """Where the attentive probe looks, mean over its heads (equation 4 with keys folded into the queries), and the
    layers it reads."""
    classifier_head = read_classifier_head(probe)
    if classifier_head.trunk and classifier_head.trunk != mark_of(model):
        raise WeightsError(f"{shown(probe)} was fitted to weights of another step; measure again: nextpatch probe")
    classifier, layers = classifier_head.classifier, list(classifier_head.layers)
    features = mean_of(model.features(inputs, layers, classifier_head.attention), layers)
    weights = classifier.attention(classifier.bn(features.flatten(0, 1)).view_as(features)).mean(dim=1)
    return weights.view(len(inputs), *model.cfg.grid), layers


def overlay(
    image: Float[Tensor, "channels height width"], weights: Float[Tensor, "rows columns"]
) -> Float[Tensor, "3 height width"]:
    """The map's colours over the image in grey; each patch keeps its edges, for that is the map's resolution."""
    _, height, width = image.shape
    colors = heat_image(weights)
    tall = colors.repeat_interleave(height // weights.shape[0], 1).repeat_interleave(width // weights.shape[1], 2)
    grey = image[:3].mean(dim=0, keepdim=True) if len(image) >= 3 else image[:1]
    return 0.6 * tall + 0.4 * grey
