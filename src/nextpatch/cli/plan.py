"""`nextpatch plan`: what a run will need and cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from nextpatch.cli.flags import ShortFor, Typed, stated
from nextpatch.cli.starting import loaded
from nextpatch.config import ConfigError, to_dict
from nextpatch.core.fields import Flag
from nextpatch.core.text import did_you_mean, shown
from nextpatch.runs.given import Values, override, read_recipe
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.tasks.plan.config import PlanConfig
from nextpatch.tasks.plan.gpus import GPUS, Gpu

_RUN = ("global_batch_size", "steps", "gpus", "gpus_per_node", "mfu", "usable", "modes")


@dataclass(frozen=True)
class Plan:
    """Estimate what a run needs and costs: parameters, operations, memory by part, communication, days.

    Nothing is computed on a GPU and none is needed. The speed follows from the share of the GPU's peak that you state;
    what was measured is in docs/log.md.

    examples:
      nextpatch plan --model 7b --gpus 256 --gpu h200
      nextpatch plan aim-1b --gpus 8 --gpu a100-80 --mfu 0.5
      nextpatch plan --model base --gpus 1 --gpu rtx4090 --batch 256 --steps 100000 --json
      nextpatch plan --from-law laws/mine --flops 1e18
    """

    recipe: Annotated[str, Flag("RECIPE", positional=True)] = ""
    """A .toml file, or the name of a shipped recipe."""
    model: Annotated[str, Flag("SIZE"), ShortFor("model.size")] = ""
    img_size: Annotated[int, ShortFor("model.img_size")] = 0
    """Side of square images, in pixels (default: as the recipe says)."""
    patch_size: Annotated[int, ShortFor("model.patch_size")] = 0
    planned: Annotated[Values, Typed(PlanConfig, only=_RUN)] = field(default_factory=dict)
    """Values of the plan that were typed."""
    gpu: Annotated[str, Flag("NAME", ", ".join(GPUS))] = "h100"
    """Type of the GPUs."""
    gpu_values: Annotated[Values, Typed(Gpu, otherwise="as --gpu says")] = field(default_factory=dict)
    """Values of the GPU that were typed."""
    json: bool = False
    """Print JSON instead of tables."""
    from_law: Annotated[Path | None, Flag("LAW")] = None
    """Instead say how a budget is spent best by this law: a law.json, or the folder that it is in."""
    flops: float = 0.0
    """Operations of the whole training, for --from-law."""
    shape: Annotated[Values, Typed(Recipe, only=("model",))] = field(default_factory=dict)
    """Values of the model that were typed."""


def run(args: Plan) -> int:
    """Print the plan; exit code 1 when nothing fits, or when a law establishes nothing."""
    if args.from_law is not None:
        return _by_law(args.from_law, args.flops, args.json)
    if args.flops:
        raise ConfigError("--flops is a budget for a law: add --from-law LAW")
    if args.gpu not in GPUS:
        asked = f"'{shown(args.gpu)}'{did_you_mean(args.gpu, GPUS)}"
        raise ConfigError(
            f"unknown gpu {asked}; choose one of {', '.join(GPUS)}; for any other GPU add its own --memory-gib, "
            "--tflops, --intra-gbs and --inter-gbs"
        )
    recipe = _recipe(args)
    length = {"global_batch_size": recipe.train.global_batch_size, "steps": recipe.train.steps}
    length["averages"] = recipe.train.ema_half_life > 0
    values: Values = {name: value for name, value in length.items() if value} | args.planned
    cfg = PlanConfig(recipe.model, replace(GPUS[args.gpu], **args.gpu_values), **values)
    cfg = replace(cfg, gpus_per_node=min(cfg.gpus_per_node, cfg.gpus))
    loaded("tasks.plan.budget")  # after the values were checked: PyTorch takes seconds
    from rich.console import Console

    from nextpatch.tasks.plan.budget import budget
    from nextpatch.tasks.plan.table import show

    found = budget(cfg)
    if args.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        show(cfg, found, Console())
    return 0 if found.choice else 1


def _by_law(path: Path, flops: float, as_json: bool) -> int:
    """Print the best size and number of images for a budget."""
    from nextpatch.law.words import counted, optimum_text
    from nextpatch.scaling.law_file import read_law

    if not flops:
        raise ConfigError("--from-law needs a budget: --flops 1e18, the operations of the whole training")
    law = read_law(path)
    best = law.optimum(flops)
    if best is None:
        print("no optimum: the law establishes no powers of both parameters and images; nextpatch law show tells more")
        return 1
    if as_json:
        print(json.dumps({**to_dict(best), "reached": best.reached, "counted": law.counted}, indent=1))
        return 0
    print(f"by the law of {shown(law.source)}, N parameters of {counted(law)}, 90 % intervals:")
    print(optimum_text(best))
    for line in law.warnings:
        print(f"warning: {line}")
    return 0


def _recipe(args: Plan) -> Recipe:
    """What the recipe file says, and over it what the flags say."""
    flags = stated(args, args.shape)
    if args.img_size:
        flags["model"]["img_size"] = [args.img_size, args.img_size]
    return recipe_from_dict(override(read_recipe(args.recipe) if args.recipe else {}, flags))
