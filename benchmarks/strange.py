"""Strange images among many: drawings like handwritten digits, made by this script, among the clothes of demo:test.

    python benchmarks/strange.py OUT [--count 500] [--density runs/density]

writes OUT/strange (the drawings), OUT/ordinary (as many of demo:test, the same for each call) and OUT/drawings.png to
look at; the same files everywhere. Printed is how well simple scores tell the two apart, and, of a run with the head
density, bits per dimension, alone and beyond those of a lossless file of the same image (surprise): the area under the
ROC curve (AUC), 1 where every drawing is stranger than every picture of clothes, 0.5 by chance. The known trap is among
them: a drawing is a plain image, few pixels and much black, so what a compressor needs for it (its likelihood, however
good) is LESS than for clothes, and the AUC of the length lies near 0.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import nextpatch
from nextpatch.core.output import save_picture
from nextpatch.data.decode import decode
from nextpatch.data.sources.open import open_source
from nextpatch.measure.distances import NearestVectors

SIDE, SCALE = 28, 8  # px; drawn so many times larger
# strokes of the digits, points in a square of 1 with y downward; curves go smoothly through their points
DIGITS: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.5, 0.05), (0.2, 0.25), (0.15, 0.6), (0.4, 0.95), (0.75, 0.8), (0.85, 0.4), (0.7, 0.12), (0.48, 0.06)),),
    (((0.3, 0.25), (0.52, 0.05), (0.5, 0.5), (0.48, 0.95)),),
    (((0.2, 0.25), (0.45, 0.05), (0.75, 0.2), (0.65, 0.5), (0.2, 0.92)), ((0.2, 0.92), (0.5, 0.9), (0.85, 0.93))),
    (((0.2, 0.15), (0.5, 0.05), (0.75, 0.22), (0.45, 0.47), (0.78, 0.68), (0.55, 0.95), (0.18, 0.85)),),
    (((0.35, 0.05), (0.2, 0.5), (0.5, 0.58), (0.85, 0.52)), ((0.68, 0.2), (0.65, 0.6), (0.62, 0.97))),
    (((0.8, 0.07), (0.35, 0.08)), ((0.35, 0.08), (0.28, 0.45), (0.65, 0.45), (0.75, 0.75), (0.45, 0.95), (0.2, 0.83))),
    (((0.65, 0.05), (0.3, 0.4), (0.22, 0.75), (0.5, 0.95), (0.75, 0.75), (0.55, 0.55), (0.27, 0.7)),),
    (((0.18, 0.1), (0.5, 0.07), (0.82, 0.1)), ((0.82, 0.1), (0.6, 0.45), (0.4, 0.95))),
    (
        ((0.5, 0.5), (0.25, 0.3), (0.5, 0.05), (0.75, 0.25), (0.5, 0.5)),
        ((0.5, 0.5), (0.2, 0.75), (0.5, 0.95), (0.8, 0.75), (0.5, 0.5)),
    ),
    (((0.75, 0.3), (0.5, 0.5), (0.25, 0.3), (0.5, 0.06), (0.75, 0.25), (0.7, 0.6), (0.6, 0.96)),),
)


def drawings(count: int, seed: int = 0) -> np.ndarray:
    """uint8, "count 28 28": bright strokes on black, turned, slanted, shifted and of different width; one digit after
    the other."""
    rng = np.random.default_rng(seed)
    return np.stack([_drawing(DIGITS[number % len(DIGITS)], rng) for number in range(count)])


def _drawing(strokes: tuple[tuple[tuple[float, float], ...], ...], rng: np.random.Generator) -> np.ndarray:
    turn, slant, size = rng.normal(0, 0.12), rng.normal(0.1, 0.15), rng.uniform(0.62, 0.76)
    shape = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[1, -slant], [0, 1]])
    stretch, shift, width = np.array([rng.uniform(0.75, 1.0), 1.0]), rng.normal(0, 0.02, 2), rng.uniform(1.7, 3.1)
    image = Image.new("L", (SIDE * SCALE, SIDE * SCALE))
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        points = _smooth(np.array(stroke) + rng.normal(0, 0.022, (len(stroke), 2)))
        places = ((points - 0.5) * stretch @ shape.T * size + 0.5 + shift) * SIDE * SCALE
        radius = width * SCALE / 2
        for x, y in places:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return (small * rng.uniform(0.9, 1.0)).round().astype(np.uint8)


def _smooth(points: np.ndarray, steps: int = 24) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    ends = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    t = np.linspace(0, 1, steps)[:, None]
    pieces = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3))
    return np.concatenate(pieces)


def clothes(data: str, count: int, seed: int = 0) -> np.ndarray:
    """So many images of a collection, drawn by chance."""
    source = open_source(data)
    rows = np.random.default_rng(seed).permutation(len(source))[:count]
    return np.stack([decode(source.read(int(row)), 1)[0].numpy() for row in np.sort(rows)])


def auc(strange: list[float], ordinary: list[float]) -> float:
    """The share of pairs in which the strange image has the higher score, equal ones counted half."""
    scores = torch.tensor([*strange, *ordinary], dtype=torch.float64)
    labels = torch.tensor([1] * len(strange) + [0] * len(ordinary))
    order = scores.sort().values
    ranks = torch.searchsorted(order, scores) + torch.searchsorted(order, scores, right=True)
    n, m = len(strange), len(ordinary)
    return float((ranks[labels == 1].double().sum() / 2 - n * n / 2) / (n * m))


def png_bytes(pixels: np.ndarray) -> float:
    """The length of the image as PNG, which stands for any compressor's."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return float(len(file.getvalue()))


def densities(run: str, sets: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """By score, and by set, what a model of exact likelihoods finds of each image."""
    found: dict[str, dict[str, list[float]]] = {}
    model = nextpatch.load(run)
    for against in ("png", "webp"):
        for name, images in sets.items():
            weighed = nextpatch.density(model, list(images), against=against).images
            found.setdefault("bits per dimension", {})[name] = [one.bits_per_dim for one in weighed]
            surprise = found.setdefault(f"surprise: these beyond the bits of the image as {against}", {})
            surprise[name] = [one.strangeness for one in weighed]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--density", default="", help="a run with the head density, such as of the recipe density")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sets = {"strange": drawings(given.count), "ordinary": clothes("demo:test", given.count)}
    for name, images in sets.items():
        (given.out / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(images):
            Image.fromarray(pixels).save(given.out / name / f"{number:04d}.png")
    rows = [np.concatenate([*sets[name][at : at + 20]], axis=1) for name in sets for at in (0, 20, 40)]
    sheet = Image.fromarray(np.concatenate(rows))
    save_picture(
        sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST), given.out / "drawings.png"
    )
    train = torch.from_numpy(clothes("demo:train", 5000)).flatten(1)
    near = {}
    for name, images in sets.items():
        nearest = NearestVectors(torch.from_numpy(images).flatten(1))
        nearest.add(train)
        near[name] = nearest.distances[:, 0].tolist()
    lengths = {name: [png_bytes(pixels) for pixels in images] for name, images in sets.items()}
    light = {name: images.mean(axis=(1, 2)).tolist() for name, images in sets.items()}
    share = {name: [a / b for a, b in zip(near[name], lengths[name], strict=True)] for name in sets}
    for what, scores in {
        "length as PNG": lengths,
        "mean brightness": light,
        "distance in pixels to the nearest of 5,000": near,
        "that distance over the length as PNG": share,
        **(densities(given.density, sets) if given.density else {}),
    }.items():
        print(f"AUC {auc(scores['strange'], scores['ordinary']):.3f}  {what}")


if __name__ == "__main__":
    main()
