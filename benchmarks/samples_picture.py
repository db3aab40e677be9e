"""The picture of README: what a run of the recipe `generate` makes, on one small sheet.

    nextpatch pretrain generate --out runs/generate
    python benchmarks/samples_picture.py runs/generate docs/samples.png

Samples of every class, one row for each number, the first ones of seed 0: nothing is chosen. Below, images of demo:test
of which a part is given, and three ways in which the model goes on: below their upper half, and in a hole in the middle
where the run's order allows it. They are the first images of their classes, told their class.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nextpatch.core.output import save_picture
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.runs.run import LoadedRun, load_run
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.known import KnownPixels
from nextpatch.sampling.sampler import Sampler
from nextpatch.tasks.report.generated import masks_of

ROWS, EXAMPLES, WAYS, SCALE, GAP, MARGIN, LINE = 4, (0, 8, 3, 9), 3, 2, 4, 16, 22
GROUND, INK, MUTE, GREY = (251, 251, 249), (27, 29, 33), (98, 103, 111), 128
TITLES = {
    "samples": "From nothing: a class for each column, told to the model",
    "completions": "The upper half is given: the image, what is given, and three ways to go on",
    "inpainting": "All but the middle is given: the image, what is given, and three ways to fill it",
}


def sampled(run: LoadedRun, labels: list[int], known: KnownPixels | None = None, guidance: float = 2.0) -> Tensor:
    """uint8, in the order of the labels."""
    mean_std = run.recipe.data.statistics(run.model.cfg.in_chans)
    sampler = Sampler(run.model, *mean_std, SamplingConfig(guidance=guidance, batch_size=len(labels)))
    [found] = sampler.sample(0, range(len(labels)), labels, known)
    return found.images


def examples(run: LoadedRun, data: str) -> list[tuple[Tensor, int]]:
    """The first image of some classes."""
    source, cfg, found = open_source(data), run.model.cfg, dict[int, Tensor]()
    for batch in eval_batches(source, range(200), cfg.img_size, cfg.in_chans, 50):
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            found.setdefault(label, image)
    return [(found[label], label) for label in EXAMPLES]


def panels(run: LoadedRun, guidance: float, data: str) -> dict[str, list[list[Tensor]]]:
    """Rows of ten images each, by what they show."""
    classes = run.model.cfg.classes
    rows = [
        list(sampled(run, list(range(classes)) * ROWS, guidance=guidance).split(classes)[row]) for row in range(ROWS)
    ]
    found = {"samples": rows}
    for kind, mask in masks_of(run.model.cfg).items():
        pieces = []
        for image, label in examples(run, data):
            given = KnownPixels(image.expand(WAYS, -1, -1, -1), mask.expand(WAYS, -1, -1, -1))
            pieces.append([image, image.where(mask[0], GREY), *sampled(run, [label] * WAYS, given, guidance)])
        found[kind] = [[*one, *other] for one, other in zip(pieces[::2], pieces[1::2], strict=True)]
    return found


def sheet(found: dict[str, list[list[Tensor]]], classes: tuple[str, ...]) -> Image.Image:
    """All panels, one below the other."""
    height, width = (SCALE * side + GAP for side in found["samples"][0][0].shape[1:])
    across = max(len(row) for rows in found.values() for row in rows)
    tall = sum(len(rows) * height + 2 * LINE for rows in found.values()) + LINE + MARGIN
    picture = Image.new("RGB", (2 * MARGIN + across * width - GAP, tall), GROUND)
    pen, title, small = ImageDraw.Draw(picture), ImageFont.load_default(15), ImageFont.load_default(10)
    top = MARGIN
    for kind, rows in found.items():
        pen.text((MARGIN, top), TITLES[kind], INK, title)
        top += LINE
        if kind == "samples":
            for column, name in enumerate(classes):
                pen.text((MARGIN + column * width, top), name, MUTE, small)
            top += LINE - 4
        for row in rows:
            for column, image in enumerate(row):
                picture.paste(enlarged(image), (MARGIN + column * width, top))
            top += height
        top += LINE
    return picture.crop((0, 0, picture.width, top))


def enlarged(image: Tensor) -> Image.Image:
    """Each pixel a square."""
    array = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(array)
    return picture.resize((SCALE * picture.width, SCALE * picture.height), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--data", default="demo:test")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = load_run(given.run)
    found = panels(run, given.guidance, given.data)
    colors = sheet(found, run.recipe.data.classes).quantize(128, dither=Image.Dither.NONE)
    save_picture(colors, given.picture)
    print(f"{given.picture}: {given.picture.stat().st_size:,} bytes, {colors.width} x {colors.height} px")


if __name__ == "__main__":
    main()
