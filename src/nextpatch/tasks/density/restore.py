"""Images of a compressed file, written as files: PNG, or .npy where PNG has no such channels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from nextpatch.core.errors import UserError
from nextpatch.core.files import replacing
from nextpatch.core.output import check_folder
from nextpatch.core.text import shown
from nextpatch.tasks.density.archive import Header
from nextpatch.tasks.density.compress import decompress
from nextpatch.weights.backbone import Backbone

Pixels = UInt8[np.ndarray, "height width channels"]


def restore(backbone: Backbone, file: Path, out: Path) -> int:
    """Write the images of `file` into the folder `out`, NUMBER-NAME.png; returns how many.

    Each batch is written when its digest is found right. UserError for a folder that holds something, FileError as of
    `decompress`. Names in the file choose no place: only their last part is taken, of letters, digits, "-", "_", ".".
    """
    header, images = restored(backbone, file)
    check_folder(out, header.images * header.channels * header.img_size[0] * header.img_size[1])
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UserError(f"{shown(out)} is not empty; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    for number, (name, pixels) in enumerate(zip(header.names, images, strict=True)):
        _write(out / file_name(number, name, header.channels), pixels)
    return header.images


def restored(backbone: Backbone, file: Path) -> tuple[Header, Iterator[Pixels]]:
    """What a file says of itself, and its images one by one, bit for bit as they were."""
    header, batches = decompress(backbone, file)
    return header, (image.permute(1, 2, 0).contiguous().numpy() for batch in batches for image in batch)


def file_name(number: int, name: str, channels: int) -> str:
    """Of an image: its number, and what is harmless of its name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.replace("\\", "/").rsplit("/", 1)[-1])
    stem = re.sub(r"\.(png|jpe?g|webp|gif|bmp|tiff?|ppm|avif|npy|heic)$", "", stem, flags=re.IGNORECASE)[:100]
    return f"{number:06d}-{stem or 'image'}{'.png' if channels in (1, 3) else '.npy'}"


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    with replacing(path) as aside:
        if path.suffix == ".npy":
            with aside.open("wb") as file:
                np.save(file, pixels)
        else:
            Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(aside, "PNG")
