"""`nextpatch pretrain`: values from recipe and flags, what is left chosen and printed, the run, its report."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nextpatch.cli.failure import Failure
from nextpatch.cli.flags import ShortFor, Typed, stated
from nextpatch.cli.report import try_report
from nextpatch.cli.starting import loaded
from nextpatch.config import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.dist.launch import world_size
from nextpatch.runs.config import Weights
from nextpatch.runs.given import Values, laid_over, overlay, read_recipe
from nextpatch.runs.recipe import Recipe, recipe_from_dict

if TYPE_CHECKING:
    from nextpatch.dist.ranks import Ranks
    from nextpatch.tasks.pretrain.run import Pretrained


@dataclass(frozen=True)
class Pretrain:
    """Pre-train a model on images by predicting the next patch.

    Give a recipe, or only data: what is left open is chosen from the images and the machine, and printed.

    examples:
      nextpatch pretrain --data ./photos --model small --out runs/photos
      nextpatch pretrain --data 'dfn/{00000..19999}.tar=0.8' --data imagenet/train=0.2 --model 1b --out runs/mixture
      nextpatch pretrain demo --out runs/demo --train.steps 500
      nextpatch pretrain --data ./photos --init apple/aim-600M --out runs/further
      nextpatch pretrain --out runs/demo --resume
      torchrun --standalone --nproc-per-node gpu -m nextpatch pretrain --data ./photos --model base --out runs/photos
    """

    out: Annotated[Path, Flag("DIR")]
    """Directory of the run: a new one, or with --resume an existing one."""
    recipe: Annotated[str, Flag("RECIPE", positional=True)] = ""
    """A .toml file, or the name of a shipped recipe."""
    data: Annotated[tuple[Images, ...], Flag(repeated=True), ShortFor("data.train")] = ()
    """Images to learn from; repeat the flag for several collections, with =WEIGHT behind each for a mixture."""
    model: Annotated[str, Flag("SIZE"), ShortFor("model.size")] = ""
    init: Annotated[Weights, ShortFor("train.init")] = ""
    minutes: Annotated[float | None, ShortFor("train.minutes")] = None
    labels: Annotated[bool, ShortFor("data.labels")] = False
    resume: bool = False
    """Continue the run at --out, with its own recipe; if there is none yet, start it."""
    typed: Annotated[Values, Typed(Recipe)] = field(default_factory=dict)
    """Values of the recipe that were typed."""


def run(args: Pretrain) -> int:
    """Start or resume, then write the report; returns the exit code."""
    began_s = time.monotonic()
    if world_size() == 1:  # of several, the first says it for all
        _check(given(args))
    loaded("tasks.pretrain.run")
    from nextpatch.dist.ranks import Ranks

    with Ranks.opened() as ranks:
        outcome, leads = _run(args, ranks, began_s), ranks.is_main
    if outcome.signal is None and leads:
        try_report(args.out)
        print(f"to measure:  nextpatch probe {args.out} --data TRAIN --test TEST")
        print(f"report only: nextpatch report {args.out}")
    return outcome.exit_code


def _check(values: Values) -> None:
    """ConfigError, before PyTorch is loaded, for values that no image and no weights can make right."""
    model = values.get("model", {})
    size = {name: value for name, value in model.items() if name == "size"} if isinstance(model, dict) else model
    recipe_from_dict({**values, "model": size})


def _run(args: Pretrain, ranks: Ranks, began_s: float) -> Pretrained:
    from rich.console import Console

    from nextpatch.api.recipes import gone_on_with, settled
    from nextpatch.runs.run import RunDir
    from nextpatch.tasks.pretrain.run import pretrain
    from nextpatch.train.step import BadStepError

    try:
        resume = args.resume or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        begin = args.recipe or "train" in _flags(args).get("data", {})
        going_on = ranks.broadcast(resume and (RunDir.exists(args.out) or not begin))
        if going_on:
            recipe = gone_on_with(overlay(_below(args), _flags(args)), args.out)
        else:
            recipe = settled(given(args), args.out, ranks, Console())
        return pretrain(recipe, args.out, going_on, ranks=ranks, began_s=began_s)
    except BadStepError as error:
        raise Failure(str(error) if ranks.is_main else "") from error


def given(args: Pretrain) -> Values:
    """What the recipe file says, and over it what the flags say."""
    return laid_over(_below(args), _flags(args))


def _below(args: Pretrain) -> Values:
    return read_recipe(args.recipe) if args.recipe else {}


def _flags(args: Pretrain) -> Values:
    flags = stated(args, args.typed)
    if args.minutes == 0:
        raise ConfigError("--minutes 0 leaves no time; leave it out for the length that the images suggest")
    if {"steps", "minutes"} <= flags.get("train", {}).keys():
        raise ConfigError("--minutes and --train.steps both say how long the run is; give one of them")
    return flags
