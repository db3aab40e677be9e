"""`nextpatch classify`: the classes of images, by the classifier that comes with the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from nextpatch.core.bounds import BATCH, SIDE, WORKERS, check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.data.preprocessing import ViewOptions
from nextpatch.runs.config import Device, Weights


@dataclass(frozen=True)
class Classify(ViewOptions):
    """Name the most likely classes of images.

    examples:
      nextpatch classify --weights apple/aim-600M cat.jpg holiday/
      nextpatch classify --weights runs/photos --json new/*.jpg
    """

    images: Annotated[tuple[Annotated[str, Flag("IMAGE")], ...], Flag(positional=True)]
    """Image files, or folders of them."""
    weights: Weights
    """Weights that come with a classifier."""
    layers: Annotated[str, Flag("SET")] = ""
    """Which classifier of the released weights: best or last (default: as the weights say)."""
    top: int = 5
    """How many classes to name."""
    as_json: Annotated[bool, Flag(name="json")] = False
    """Print one JSON object per line instead of a table."""
    batch_size: int = 32
    """Images computed at a time."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""


def run(args: Classify) -> int:
    """Print the classes; images that cannot be decoded are named and left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nextpatch.data.skipped import Bad, by_kind
    from nextpatch.data.sources.listed import ListedSource
    from nextpatch.tasks.embed.classify import classify
    from nextpatch.weights.inference import InferenceModel
    from nextpatch.weights.load import load

    check_bounds(args, top=(1, 10**6), batch_size=(1, BATCH[1]), workers=WORKERS, img_size=SIDE)
    with phase("loading the weights and opening the images"):
        source = ListedSource(args.images)
        backbone = load(
            args.weights, layers=args.layers, img_size=args.img_size, pixel_range=args.pixel_range, layout=args.layout
        )
        inference = InferenceModel.of(backbone, args.device)
    bad: Bad = {}
    found = classify(inference, source, args.top, args.batch_size, args.workers, bad)
    console = Console()
    if args.as_json:
        for one in found:
            print(json.dumps({"image": one.image, "top": [guess._asdict() for guess in one.top]}))
    else:
        table = Table("image", "class", "probability")
        table.columns[2].justify = "right"
        with phase("classifying the images"):
            rows = list(found)
        for one in rows:
            for place, guess in enumerate(one.top):
                table.add_row(
                    *(Text(shown(word)) for word in ("" if place else one.image, guess.name)),
                    f"{guess.probability:.1%}",
                )
            table.add_section()
        console.print(table)
    if bad:
        Console(stderr=True).print(f"{len(bad)} of {len(source)} images skipped: {by_kind(bad)}", highlight=False)
    return 0
