"""`nextpatch plan`: what a run will need and cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from nextpatch.cli.flags import chosen, flag_table, optional, typed
from nextpatch.cli.values import overlay, override, recipe_path
from nextpatch.config import ConfigError, read_toml
from nextpatch.core.text import meant, shown
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.tasks.plan.gpus import GPUS


@dataclass(frozen=True)
class Plan:
    """Say what a run will need and cost: parameters, operations, memory by part, communication, days.

    Nothing is computed on a GPU and none is needed. The speed follows from the share of the GPU's peak that you state;
    what was measured is in docs/log.md.

    examples:
      nextpatch plan --model 7b --gpus 256 --gpu h200
      nextpatch plan aim-1b --gpus 8 --gpu a100-80 --mfu 0.5
      nextpatch plan --model base --gpus 1 --gpu rtx4090 --batch 256 --steps 100000 --json
    """

    recipe: Annotated[Positional[str], optional("[RECIPE]", "a .toml file, or the name of a shipped recipe")] = ""
    model_size: Annotated[str, optional("SIZE", "the same as --model.size", "model")] = ""
    img_size: Annotated[int, optional("PX", "side of the images (default: the recipe's, or 224)"), chosen(int)] = 0
    patch_size: Annotated[int, optional("PX", "side of a patch (default: the recipe's, or 14)"), chosen(int)] = 0
    batch: Annotated[int, optional("N", "images a step (default: the recipe's, or 4096)"), chosen(int)] = 0
    steps: Annotated[int, optional("N", "steps of the run (default: the recipe's, or 1250000)"), chosen(int)] = 0
    gpus: Annotated[int, arg(metavar="N", help="GPUs in all")] = 8
    gpus_per_node: Annotated[int, arg(metavar="N", help="GPUs in a machine")] = 8
    gpu: Annotated[str, arg(metavar="NAME", help=f"one of {', '.join(GPUS)}")] = "h100"
    mfu: Annotated[float, arg(metavar="SHARE", help="share of the GPU's peak that is expected")] = 0.4
    memory_gib: Annotated[float, optional("GIB", "memory of a GPU (default: the GPU's)"), chosen(float)] = 0.0
    tflops: Annotated[float, optional("N", "peak of dense bfloat16 products (default: the GPU's)"), chosen(float)] = 0.0
    intra_gbs: Annotated[
        float, optional("GB/S", "link within a machine, one direction (default: the GPU's)"), chosen(float)
    ] = 0.0
    inter_gbs: Annotated[
        float, optional("GB/S", "network a GPU, one direction (default: the GPU's)"), chosen(float)
    ] = 0.0
    json: Annotated[FlagCreatePairsOff[bool], optional("", "print JSON instead of tables")] = False


def arguments() -> Any:
    """`Plan` with a flag for every value of a model."""
    model: Any = next(f.type for f in fields(flag_table(Recipe)) if f.name == "model")
    table = ("model", model, field(default_factory=model))
    return make_dataclass("Plan", [table], bases=(Plan,), namespace={"__doc__": Plan.__doc__}, frozen=True)


def run(args: Plan) -> int:
    """Print the plan; exit code 1 when nothing fits."""
    from rich.console import Console

    from nextpatch.tasks.plan.budget import budget
    from nextpatch.tasks.plan.config import PlanConfig
    from nextpatch.tasks.plan.table import show

    if args.gpu not in GPUS:
        asked = f"'{shown(args.gpu)}'{meant(args.gpu, GPUS)}"
        raise ConfigError(f"unknown gpu {asked}; choose one of {', '.join(GPUS)}, and override its values")
    given = {name: getattr(args, name) for name in ("memory_gib", "tflops", "intra_gbs", "inter_gbs")}
    gpu = replace(GPUS[args.gpu], **{name: value for name, value in given.items() if value})
    recipe = _recipe(args)
    cfg = PlanConfig(
        recipe.model, gpu, args.gpus, min(args.gpus_per_node, args.gpus),
        args.batch or recipe.train.global_batch_size or 4096, args.steps or recipe.train.steps or 1_250_000, args.mfu,
    )  # fmt: skip
    found = budget(cfg)
    if args.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        show(cfg, found, Console())
    return 0 if found.choice else 1


def _recipe(args: Plan) -> Recipe:
    """What the recipe file says, and over it what the flags say, the short ones first."""
    short = {
        "size": args.model_size, "img_size": [args.img_size, args.img_size] if args.img_size else "",
        "patch_size": args.patch_size,
    }  # fmt: skip
    said, given = {name: value for name, value in short.items() if value}, _table(args)
    if twice := [name for name in said if name in given.get("model", {})]:
        raise ConfigError(f"{twice[0]} is given in two ways, by a flag of its own and as --model.{twice[0]}; give one")
    flags = overlay({"model": said}, given)
    return recipe_from_dict(override(read_toml(recipe_path(args.recipe)) if args.recipe else {}, flags))


def _table(args: Plan) -> dict[str, Any]:
    return {name: values for name, values in typed(args).items() if name == "model"}
