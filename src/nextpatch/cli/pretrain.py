"""`nextpatch pretrain`: values from recipe and flags, what is left chosen and printed, the run, its report."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from nextpatch.cli.failure import Failure
from nextpatch.cli.flags import flag_table, optional, typed
from nextpatch.cli.report import try_report
from nextpatch.cli.values import Values, overlay, override, recipe_path
from nextpatch.config import ConfigError, read_toml
from nextpatch.train.recipe import Recipe, recipe_from_dict


@dataclass(frozen=True)
class Pretrain:
    """Pre-train a model on images by predicting the next patch.

    Give a recipe, or data alone: what is not said is chosen from the images and the machine, and printed.

    examples:
      nextpatch pretrain --data ./photos --model small --out runs/photos
      nextpatch pretrain --data 'dfn/{00000..19999}.tar=0.8' --data imagenet/train=0.2 --model 1b --out runs/mixture
      nextpatch pretrain demo --out runs/demo --train.steps 500
      nextpatch pretrain --out runs/demo --resume
    """

    out: Annotated[Path, arg(metavar="DIR", help="directory of the run: a new one, or with --resume an existing one")]
    recipe: Annotated[Positional[str], optional("[RECIPE]", "a .toml file, or the name of a shipped recipe")] = ""
    data_path: Annotated[
        UseAppendAction[tuple[str, ...]],
        optional(
            "DATA", "a folder of images, tar shards, Parquet, hub:OWNER/NAME, torchvision:NAME or a URL; repeat it for "
            "more, with =WEIGHT behind each for a mixture", "data",
        ),
    ] = ()  # fmt: skip
    model_size: Annotated[str, optional("SIZE", "the same as --model.size", "model")] = ""
    resume: Annotated[FlagCreatePairsOff[bool], optional("", "go on with the run at --out, by its own recipe")] = False


def arguments() -> Any:
    """`Pretrain` with a flag for every value of a recipe."""
    tables = flag_table(Recipe)
    items, doc = [(f.name, f.type, f) for f in fields(tables)], {"__doc__": Pretrain.__doc__}
    return make_dataclass("Pretrain", items, bases=(Pretrain,), namespace=doc, frozen=True)


def run(args: Pretrain) -> int:
    """Start or resume, then write the report; returns the exit code."""
    from nextpatch.pretrain.plan import resolve
    from nextpatch.pretrain.run import pretrain
    from nextpatch.train.step import NonFiniteError

    if args.resume:
        recipe = _unchanged(args)
    else:
        recipe, choices = resolve(given(args))
        print("\n".join(choices))
    try:
        outcome = pretrain(recipe, args.out, args.resume)
    except NonFiniteError as error:
        raise Failure(str(error)) from error
    if outcome.signal is None:
        try_report(args.out)
        print(f"measure it:  nextpatch probe {args.out} --data TRAIN --test TEST")
        print(f"look again:  nextpatch report {args.out}")
    return outcome.exit_code


def given(args: Pretrain) -> Values:
    """What the recipe file says, and over it what the flags say."""
    return override(read_toml(recipe_path(args.recipe)) if args.recipe else {}, _flags(args))


def _flags(args: Pretrain) -> Values:
    tables = {field.name for field in fields(Recipe)}
    flags = {name: values for name, values in typed(args).items() if name in tables}
    for table, name, value in (("data", "train", args.data_path), ("model", "size", args.model_size)):
        if value and name in flags.get(table, {}):
            raise ConfigError(f"--{table} and --{table}.{name} say the same thing; give one of them")
        if value:
            flags = overlay(flags, {table: {name: value}})
    return flags


def _unchanged(args: Pretrain) -> Recipe | None:
    """The run's recipe with what was given over it, for `pretrain` to compare; None when nothing was given."""
    stated = overlay(read_toml(recipe_path(args.recipe)) if args.recipe else {}, _flags(args))
    saved = args.out / "recipe.toml"
    return recipe_from_dict(overlay(read_toml(saved), stated)) if stated and saved.exists() else None
