"""Images with labels, made on the spot: classes that a classifier of any worth tells apart."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "elk")


def write_labeled(folder: Path, count: int, seed: int, classes: tuple[str, ...] = CLASSES) -> Path:
    """`count` images per class: a bright column whose place is the class, under noise."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 60, (8, 12), dtype=np.uint8)
            pixels[:, 4 * number : 4 * number + 3] += 120
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")
    return folder
