"""Small studies for tests, and commands that stand in for training where only the order of work is tested."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from nextpatch.study.config import StudyConfig
from nextpatch.study.reading import study_from_dict

SMALL: dict[str, Any] = {
    "title": "Order",
    "seeds": [0, 1],
    "recipe": {
        "model": {
            "size": "nano",
            "img_size": [28, 28],
            "patch_size": 7,
            "in_chans": 1,
            "embed_dim": 64,
            "depth": 1,
            "num_heads": 1,
            "head_width": 32,
            "head_depth": 1,
        },
        "data": {"train": ["demo:test"], "val_images": 16, "workers": 0},
        "train": {
            "steps": 3,
            "global_batch_size": 8,
            "val_every": 1,
            "checkpoint_every": 1,
            "log_every": 1,
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "sinks": [],
        },
    },
    "variants": {"raster": {}, "random": {"model": {"order": "random"}}},
    "claims": [{"better": "raster", "than": "random", "by": "val_loss"}],
}


def small(**changed: Any) -> StudyConfig:
    """The small study with some keys replaced."""
    return study_from_dict({**copy.deepcopy(SMALL), **changed}, Path("study"))
