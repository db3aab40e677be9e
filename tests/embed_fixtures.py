"""Small weights with a classifier, and a folder of images, two of which are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weights_layout import CONFIG, state_of, write_snapshot

COUNT = 23


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 255, (30 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if i % 2 else ".") / f"{i:02d}.png")
    (folder / "bad.jpg").write_bytes(b"not an image")
    (folder / "empty.png").write_bytes(b"")
    return folder
