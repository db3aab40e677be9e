"""`nextpatch classify`: what images show, by a classifier that comes with the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from nextpatch.cli.flags import img_size, layout, optional, pixel_range
from nextpatch.core.bounds import BATCH, SIDE, WORKERS, check_bounds
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device

WEIGHTS = (
    "apple/aim-600M (-1B, -3B, -7B), OWNER/NAME of the Hub, a run, a folder or file of weights, or "
    "BACKBONE.pth+HEAD.pth"
)


@dataclass(frozen=True)
class Classify:
    """Name the likeliest classes of images.

    examples:
      nextpatch classify --weights apple/aim-600M cat.jpg holiday/
      nextpatch classify --weights runs/photos --json new/*.jpg
    """

    images: Annotated[Positional[tuple[str, ...]], optional("IMAGE ...", "image files, or folders of them")]
    weights: Annotated[str, arg(metavar="WEIGHTS", help=WEIGHTS)]
    layers: Annotated[str, optional("SET", "of released weights: best or last (default: the classifier's own)")] = ""
    top: Annotated[int, arg(help="how many classes to name")] = 5
    as_json: Annotated[FlagCreatePairsOff[bool], arg(name="json", help="a JSON object a line in place of a table")] = (
        False
    )
    batch_size: Annotated[int, arg(help="images at a time")] = 32
    workers: Annotated[int, arg(help="processes that decode images; 0: this one")] = 0
    device: Annotated[Device, arg(help="where to compute")] = "auto"
    img_size: Annotated[tuple[int, int] | None, *img_size()] = None
    pixel_range: Annotated[tuple[float, float] | None, *pixel_range()] = None
    layout: Annotated[Layout | None, *layout()] = None


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
        running = InferenceModel.of(backbone, args.device)
    bad: Bad = {}
    found = classify(running, source, args.top, args.batch_size, args.workers, bad)
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
        Console(stderr=True).print(f"{len(bad)} of {len(source)} images left out: {by_kind(bad)}", highlight=False)
    return 0
