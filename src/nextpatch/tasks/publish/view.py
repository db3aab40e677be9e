"""How an image becomes the input of an exported model, in plain values that any program can follow."""

from __future__ import annotations

import json
from typing import Any

from nextpatch.config import to_dict
from nextpatch.core.marks import MARK
from nextpatch.weights.backbone import Backbone, ModelInfo


def view_of(about: ModelInfo) -> dict[str, Any]:
    """The steps of `Backbone.transform`: resize until `cover` is just covered, crop the center to `crop`."""
    how = about.preprocessing
    return {
        "cover": [round(side / how.crop_ratio) for side in about.img_size], "crop": list(about.img_size),
        "interpolation": how.interpolation, "antialias": True, "channels": about.in_chans,
        "an_image_of_exactly_crop_is_kept": how.keep_exact, "mean": list(about.mean), "std": list(about.std),
        "of_pixels_in": [0.0, 1.0], "preprocessing": to_dict(how),
    }  # fmt: skip


def timm_view(about: ModelInfo) -> dict[str, Any]:
    """The same as timm's `create_transform` takes it."""
    return {
        "input_size": [about.in_chans, *about.img_size], "crop_pct": about.preprocessing.crop_ratio,
        "crop_mode": "center", "interpolation": about.preprocessing.interpolation, "mean": list(about.mean),
        "std": list(about.std),
    }  # fmt: skip


def facts_of(backbone: Backbone) -> dict[str, str]:
    """What an exported file says of itself, each value as JSON: layers and attention, classes in order, the view."""
    about = backbone.about
    return {
        "name": json.dumps(about.name),
        "layers": json.dumps(list(about.layers)),
        "classes": json.dumps(list(backbone.classes)),
        "attention": json.dumps(about.attention),
        "view": json.dumps(view_of(about)),
        MARK: json.dumps(1),
    }
