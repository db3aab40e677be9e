"""Bits per dimension of a model with the head density, and what they are worth: bytes beside those of plain codecs.

    .venv/bin/python benchmarks/density.py runs/density [--images 1000] [--data demo:test]

In one run, of the same images: the claim (all values at once), the bytes that `compress` writes, whether `decompress`
gives the images back bit for bit, and the bytes of PNG, lossless WebP and JPEG XL (of imagecodecs, where it is there),
each with its headers, as a file of its own for each image; and of these again for all images as one tall picture, which
shares headers and statistics. Exit code 1 where an image does not come back, or the bytes are more than 1 % over the
claim.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import nextpatch
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.tasks.density.codecs_beside import plain_bits

Codec = Callable[[NDArray[np.uint8]], int]  # bytes of an image "height width channels"


def pillow(kind: str) -> Codec:
    """Of a kind that Pillow writes."""
    return lambda pixels: plain_bits(torch.from_numpy(pixels.copy()).permute(2, 0, 1), kind) // 8


def jpeg_xl(pixels: NDArray[np.uint8]) -> int:
    """Lossless, the greatest effort but one."""
    import imagecodecs

    return len(imagecodecs.jpegxl_encode(pixels.squeeze(), lossless=True, effort=9))


def codecs() -> dict[str, Codec]:
    """Those that are installed."""
    found: dict[str, Codec] = {"PNG": pillow("png"), "WebP": pillow("webp")}
    try:
        import imagecodecs
    except ImportError:
        return found
    return found | {"JPEG XL": jpeg_xl} if imagecodecs.JPEGXL.available else found


def pixels_of(data: str, count: int, model: nextpatch.Backbone) -> NDArray[np.uint8]:
    """The first images, as the model sees them."""
    source, about = open_source(data), model.about
    numbers = np.arange(min(count, len(source)))
    batches = eval_batches(source, numbers, about.img_size, about.in_chans, 256, preprocessing=about.preprocessing)
    return torch.cat([batch.images for batch in batches]).permute(0, 2, 3, 1).contiguous().numpy()


def proved(model: nextpatch.Backbone, pixels: NDArray[np.uint8]) -> bool:
    """Compress and restore; prints what came out."""
    values = pixels.size
    begun = time.process_time()
    claim = nextpatch.density(model, pixels, quiet=True).bits_per_dim
    weighed_s = time.process_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        begun, file = time.process_time(), Path(folder) / "images"
        made = nextpatch.compress(model, pixels, file, quiet=True)
        coded_s, begun = time.process_time() - begun, time.process_time()
        back = np.stack(list(nextpatch.decompress(model, file, quiet=True).values()))
        decoded_s = time.process_time() - begun
    same = bool(np.array_equal(back, pixels))
    coded, whole = (8 * count / values for count in (made.coded_bytes, made.file_bytes))
    print(f"claimed {claim:.4f} bits per dimension; coded {coded:.4f} ({coded / claim - 1:+.3%}), the file {whole:.4f}")
    print(f"{'all' if same else 'NOT ALL'} {len(pixels):,} images come back bit for bit")
    print(f"processor seconds: weighed {weighed_s:.1f}, compressed {coded_s:.1f}, decompressed {decoded_s:.1f}")
    return same and coded <= 1.01 * claim


def main() -> int:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("--data", default="demo:test")
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = nextpatch.load(args.weights)
    pixels = pixels_of(args.data, args.images, model)
    print(f"{args.weights} on {len(pixels):,} images of {args.data}, one thread; torch {torch.__version__}")
    good = proved(model, pixels)
    tall = pixels[: 16383 // pixels.shape[1]].reshape(-1, *pixels.shape[2:])  # WebP holds 16,383 rows
    for name, codec in codecs().items():
        each = 8 * sum(map(codec, pixels)) / pixels.size
        print(f"{name}: {each:.4f} a file each, {8 * codec(tall) / tall.size:.4f} as one picture of {len(tall):,} rows")
    print(f"as they are: {math.log2(256):.4f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
