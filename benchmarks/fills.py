"""Fills and enlargements that inpainting and upscaling are compared with, on test images, by error and by features.

    pip install --target ski scikit-image    # biharmonic fill; not a dependency of nextpatch
    PYTHONPATH=ski python benchmarks/fills.py classifier.onnx [--count 1000]

Holes: the square in the middle (half as high and wide), the right half, and a random half of the patches of 4 px (the
same for all images). Fills: the mean of the known pixels of an image; harmonic (the values of a soap film: Laplace's
equation in the hole, solved by scipy); biharmonic (scikit-image). Enlargement: images made half as high and wide by
the mean of 2 x 2 pixels, and bicubic back. Errors are of pixels in [0, 1], in the hole alone, over all images; feature
distances by the classifier of benchmarks/generate.py, the mean over images of the distance to the image as it was;
the Fréchet distance (FD) is that of the filled images to the same test images as they were.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nextpatch.measure.frechet import FeatureMoments, frechet_distance
from nextpatch.tasks.evaluate.graph import ClassifierGraph, graph_of
from strange import clothes

PATCH = 4
Fill = Callable[[Tensor, Tensor], Tensor]  # images "images height width" in [0, 1], hole "height width" -> filled


def holes(side: int, seed: int = 0, patch: int = PATCH) -> dict[str, Tensor]:
    """True where pixels are missing, "height width"."""
    square, right = (torch.zeros(side, side, dtype=torch.bool) for _ in range(2))
    square[side // 4 : side - side // 4, side // 4 : side - side // 4] = True
    right[:, side // 2 :] = True
    grid = side // patch
    patches = torch.zeros(grid * grid, dtype=torch.bool)
    patches[torch.from_numpy(np.random.default_rng(seed).permutation(grid * grid)[: grid * grid // 2])] = True
    wide = patches.view(grid, grid).repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    return {"center square": square, "right half": right, "half of the patches": wide}


def mean_fill(images: Tensor, hole: Tensor) -> Tensor:
    """The mean of what is known of each image."""
    return torch.where(hole, images[:, ~hole].mean(dim=1)[:, None, None], images)


def harmonic(images: Tensor, hole: Tensor) -> Tensor:
    """In the hole each pixel is the mean of its neighbors; at the border of the image there are fewer of them."""
    from scipy.sparse import lil_array
    from scipy.sparse.linalg import splu

    places = {place: number for number, place in enumerate(map(tuple, hole.nonzero().tolist()))}
    matrix, given = lil_array((len(places), len(places))), np.zeros((len(places), len(images)))
    for (row, column), number in places.items():
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if not (0 <= near[0] < hole.shape[0] and 0 <= near[1] < hole.shape[1]):
                continue
            matrix[number, number] += 1
            if near in places:
                matrix[number, places[near]] = -1
            else:
                given[number] += images[:, near[0], near[1]].numpy()
    out = images.clone()
    out[:, hole] = torch.from_numpy(splu(matrix.tocsc()).solve(given).T).to(images.dtype)
    return out.clamp(0, 1)


def biharmonic(images: Tensor, hole: Tensor) -> Tensor:
    """That of scikit-image, which keeps to the range of the known values; images are given as channels of one."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(images.permute(1, 2, 0).numpy(), hole.numpy(), channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1).to(images.dtype).clamp(0, 1)


FILLS: dict[str, Fill] = {"mean": mean_fill, "harmonic": harmonic, "biharmonic": biharmonic}


def halved(images: Tensor) -> Tensor:
    """The mean of 2 x 2 pixels, in whole 255ths, as a picture is stored."""
    return (avg_pool2d(images[:, None], 2)[:, 0] * 255).round() / 255


def bicubic(small: Tensor) -> Tensor:
    """Twice as high and wide."""
    return interpolate(small[:, None], scale_factor=2, mode="bicubic", align_corners=False)[:, 0].clamp(0, 1)


def features(graph: ClassifierGraph, images: Tensor) -> Tensor:
    """Of images in [0, 1], which are stored in 8 bits before."""
    pixels = (images * 255).round().byte()[:, None]
    return torch.cat([graph(some)[0] for some in pixels.split(500)])


def rows(images: Tensor, graph: ClassifierGraph) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(what it is, images made, where they count)."""
    for name, hole in holes(images.shape[-1]).items():
        for fill_name, fill in FILLS.items():
            try:
                yield f"{name}, {fill_name}", fill(images, hole), hole
            except ImportError as error:
                print(f"{name}, {fill_name}: left out ({error})")
    yield "twice the size, bicubic", bicubic(halved(images)), torch.ones(images.shape[1:], dtype=torch.bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    graph = graph_of(given.classifier)
    images = torch.from_numpy(clothes("demo:test", given.count)).double() / 255
    seen = features(graph, images)
    print(f"| of {len(images):,} test images | mean squared error | its root | PSNR | feature distance | FD |")
    print("|---|---|---|---|---|---|")
    for name, made, where in rows(images, graph):
        error = float((made - images)[:, where].square().mean())
        found = features(graph, made)
        apart = float((found - seen).norm(dim=1).mean())
        distance = frechet_distance(FeatureMoments.of(found), FeatureMoments.of(seen))
        psnr = -10 * np.log10(error)
        print(f"| {name} | {error:.4f} | {error**0.5:.3f} | {psnr:.2f} dB | {apart:.2f} | {distance:.2f} |", flush=True)


if __name__ == "__main__":
    main()
