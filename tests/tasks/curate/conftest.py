"""Small folders of images for the curate room's tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encoded(seed: int, height: int = 12, width: int = 10, channels: int = 3, kind: str = "PNG") -> bytes:
    """Random pixels, encoded."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def image() -> Callable[..., bytes]:
    """Encoded random pixels; the same for the same arguments."""
    return encoded


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes: 40 images in three formats, one empty file, one cut off, one that is a web page."""
    root = tmp_path / "photos"
    for number in range(40):
        folder = root / ("cat" if number % 4 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        kind = ("PNG", "JPEG", "WEBP")[number % 3]
        (folder / f"{number}.{'jpg' if number % 3 == 1 else kind.lower()}").write_bytes(encoded(number, kind=kind))
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "cut.jpg").write_bytes(encoded(99, 64, 64, kind="JPEG")[:-900])
    (root / "dog" / "page.jpg").write_bytes(b"<html>not found</html>")
    return root
