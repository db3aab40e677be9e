"""Weights with likelihoods, and images that fit them exactly."""

from __future__ import annotations

import numpy as np

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.weights.backbone import Backbone, ModelInfo
from variants import SMALL

MEAN, STD = (0.3, 0.4, 0.5), (0.3, 0.2, 0.4)


def backbone_of(seed: int = 0, channels: int = 3, **values: object) -> Backbone:
    cfg = ModelConfig(**{**SMALL, "head": "density", "in_chans": channels, **values}, img_size=(4, 6))
    model = AIM(cfg)
    init_weights(model, seed)
    if cfg.head == "density":
        model.head.measure([], MEAN[:channels], STD[:channels])
    about = ModelInfo("tiny", (4, 6), channels, MEAN[:channels], STD[:channels], 16, 2, ("block_1",), 6)
    return Backbone(model, about)


def images_of(count: int = 5, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 6, channels), np.uint8)
    pixels[0], pixels[1] = 0, 255
    return pixels
