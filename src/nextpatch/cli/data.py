"""`nextpatch data inspect` and `preview`: images as they are before training; and the group of all `data` verbs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from nextpatch.cli import shards
from nextpatch.cli.shards import CORES, processes
from nextpatch.cli.verb import Output, Verb
from nextpatch.core.bounds import COUNT, SEED, check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.files import write_json, write_text
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_file, picture_kind, save_picture
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.data.config import Images
from nextpatch.runs.given import overlay, read_recipe
from nextpatch.runs.recipe import recipe_from_dict

if TYPE_CHECKING:
    from nextpatch.data.skipped import Bad
    from nextpatch.tasks.pretrain.plan import PretrainPlan

_Collections = Annotated[tuple[Images, ...], Flag(positional=True)]
_Recipe = Annotated[str, Flag("RECIPE|RUN", "a .toml file, a shipped recipe or a run")]
_PREVIEW = Path("preview.png")
_BUILT = ("size", "embed_dim", "depth", "num_heads", "head", "head_width", "head_depth")  # no image is seen otherwise


@dataclass(frozen=True)
class Inspect:
    """Look at every image once: counts, formats, sizes, damaged images, duplicates, and whether there are enough.

    examples:
      nextpatch data inspect ./photos
      nextpatch data inspect 'dfn/{00000..00099}.tar' --limit 20000 --recipe aim-600m
    """

    data: _Collections
    """Images to look at, one or more collections."""
    recipe: _Recipe = ""
    """Recipe whose image size, crops and length are considered (default: chosen from the images)."""
    limit: int = 0
    """Look at this many images, spread evenly over all (default: all)."""
    fast: bool = False
    """Read only the headers of the images, without decoding them."""
    json: Annotated[Path | None, Flag("FILE")] = None
    """Also write the results to this file, as JSON."""
    bad: Annotated[Path | None, Flag("FILE")] = None
    """Write the names of the unusable images to this file, one JSON object per line."""
    workers: int = -1
    """Number of processes; -1: one for each core."""


@dataclass(frozen=True)
class Preview:
    """Draw a few images next to what the model gets of them, as a picture and as a page.

    examples:
      nextpatch data preview ./photos
      nextpatch data preview imagenet/train --recipe aim-1b --out talk.png
    """

    data: _Collections
    """Images to draw, one or more collections."""
    recipe: _Recipe = ""
    """Recipe whose image size, crops and prefixes are drawn (default: chosen from the images)."""
    out: Annotated[Path, Flag("FILE")] = _PREVIEW
    """Where to write the picture; the page is written to the same folder."""
    images: int = 12
    """How many images to draw."""
    seed: int = 0
    """Seed of the choice of images, of crops and of prefixes."""


def inspect(args: Inspect) -> int:
    """Print what there is."""
    from rich.console import Console

    from nextpatch.core.errors import UserError
    from nextpatch.core.text import shown

    check_bounds(args, limit=COUNT, workers=CORES)
    from nextpatch.data.collection import open_collection, outside
    from nextpatch.data.preprocessing import AS_OURS
    from nextpatch.data.sources.contents import logged_by_caller
    from nextpatch.tasks.curate.epochs_advice import seen, verdict
    from nextpatch.tasks.curate.inspection import inspect
    from nextpatch.tasks.curate.table import show, show_enough

    for flag, out in (("--json", args.json), ("--bad", args.bad)):
        if out:
            check_file(outside(out, args.data, flag=flag))
    if args.json and args.bad and args.json.resolve() == args.bad.resolve():
        raise UserError(f"--json and --bad both name {shown(args.bad)}; choose another file for one of them")
    with phase("opening the images"), logged_by_caller() as told:
        data, console, recipe = open_collection(args.data), Console(highlight=False), None
    unplanned = ""
    try:
        with phase("looking at the images"):
            recipe = _planned(args.data, args.recipe, ("steps", "global_batch_size")).recipe
    except UserError as error:
        if args.recipe:
            raise
        unplanned = str(error)  # findings first: they say what is wrong with the images
    model = recipe.model if recipe else None
    reading = recipe.data.preprocessing if recipe else AS_OURS
    found, bad = inspect(data.source, args.limit, args.fast, processes(args.workers), model, None, reading)
    show(found, console)
    if left_out := getattr(data.source, "left_out", "") or "; ".join(told):
        console.print(f"not used: {shown(left_out)}", markup=False)
    if unplanned:
        console.print(f"no run can be planned for these images: {shown(unplanned)}", markup=False)
    values: dict[str, Any] = asdict(found)
    if recipe:
        parts = seen(recipe, data)
        said = verdict(parts, recipe.data.crop_scale[0])
        show_enough(parts, recipe.train, said, bool(args.recipe), console)
        values |= {"seen": [part._asdict() for part in parts], "verdict": said}
    if args.json:
        write_json(args.json, values)
    if args.bad:
        _write_bad(args.bad, bad)
    return 0


def preview(args: Preview) -> int:
    """Draw, and say where it is."""
    from nextpatch.data.collection import open_collection
    from nextpatch.tasks.curate.contact_sheet import draw_sheet
    from nextpatch.tasks.curate.page import write_page
    from nextpatch.tasks.curate.preview import preview

    check_bounds(args, images=(1, 1000), seed=SEED)
    picture = _picture(args)
    picture_kind(picture)
    check_file(picture, beside=[picture.with_suffix(".html")])
    with phase("drawing the images"):
        plan = _planned(args.data, args.recipe, ())
        sheet = preview(open_collection(args.data).source, plan.recipe, args.images, args.seed)
        save_picture(draw_sheet(sheet), picture)
    for said in plan.choices:
        if said.startswith(("warning:", "note:")):
            print(shown(said))
    print(f"picture:     {picture}")
    print(f"page:        {write_page(sheet, picture.with_suffix('.html'))}")
    return 0


def _picture(args: Preview) -> Path:
    from nextpatch.data.collection import outside

    picture = args.out if args.out.suffix else args.out / _PREVIEW
    return outside(picture, args.data, default=args.out == _PREVIEW)


VERBS = {
    "inspect": Verb(
        "count images, damage and duplicates; tell if they are enough",
        Inspect,
        inspect,
        lambda args: [Output(path, file=True) for path in (args.json, args.bad) if path],
        needs=("tasks.curate.inspection", "tasks.pretrain.plan"),
    ),
    "preview": Verb(
        "show a few images beside what the model sees of them",
        Preview,
        preview,
        lambda args: [Output(_picture(args), file=True)],
        needs=("tasks.curate.preview", "tasks.pretrain.plan"),
    ),
    "pack": Verb(
        "pack images into tar shards with a manifest",
        shards.Pack,
        shards.pack,
        lambda args: [Output(args.out)],
        needs=("tasks.curate.pack",),
    ),
    "index": Verb(
        "make the indexes and the manifest of tar shards", shards.Index, shards.index, needs=("data.tar.build",)
    ),
    "verify": Verb(
        "compare every byte of tar shards with their manifest", shards.Verify, shards.verify, needs=("data.tar.verify",)
    ),
}


def _planned(specs: Sequence[str], name: str, kept: Sequence[str]) -> PretrainPlan:
    """The recipe, or what is chosen for these images: only what matters to them, with the `kept` of its length."""
    from nextpatch.tasks.pretrain.plan import resolve

    values = read_recipe(name) if name else {}
    recipe_from_dict(values)  # what is wrong with it is said before it is taken apart
    model, data, train = (dict(values.get(table, {})) for table in ("model", "data", "train"))
    seen = {key: value for key, value in data.items() if key not in ("val", "val_images")}
    return resolve(
        {
            "model": {"size": "nano", **{key: model[key] for key in model.keys() - _BUILT}},
            "data": overlay(seen, {"train": list(specs)}),
            "train": {key: train[key] for key in kept if key in train},
        }
    )


def _write_bad(path: Path, bad: Bad) -> None:
    lines = (json.dumps({MARK: "unusable image", "key": key, **entry._asdict()}) for key, entry in bad.items())
    write_text(path, "".join(f"{line}\n" for line in lines))
