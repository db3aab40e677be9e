"""Pre-training from a resolved recipe to a run directory: where data, model and training meet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from nextpatch.config import ConfigError, to_dict
from nextpatch.data.collection import open_collection
from nextpatch.data.loader import TrainStream
from nextpatch.model.aim import AIM
from nextpatch.model.init import init_weights
from nextpatch.model.precision import resolve_device
from nextpatch.train.heldout import HeldOut, held_out, training_order
from nextpatch.train.logs import log_to
from nextpatch.train.loop import Outcome, fit
from nextpatch.train.recipe import Recipe
from nextpatch.train.run import RunDir
from nextpatch.train.step import NonFiniteError

log = logging.getLogger(__name__)


def pretrain(recipe: Recipe | None, out: Path, resume: bool = False, console: Console | None = None) -> Outcome:
    """Pre-train as a resolved `recipe` (no value left to choose) says, in a new run directory at `out`.

    With `resume` the run at `out` goes on from its newest checkpoint, by its own recipe; one given as well must be
    equal. Raises ConfigError, DataError or RunError for what cannot be used, NonFiniteError for a loss that exploded.
    """
    console = console or Console()
    run = _resumed(recipe, out) if resume else None
    recipe = run.recipe if run else recipe
    if recipe is None:
        raise ConfigError("a new run needs a recipe")
    stream, held = open_data(recipe)
    run = run or RunDir.create(out, recipe)
    run.write_environment()
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    model = AIM(recipe.model)
    init_weights(model, recipe.train.seed)
    with log_to(run.path / "log.txt", console):
        try:
            return fit(model.to(resolve_device(recipe.train.device)), stream, held, run, console)
        except NonFiniteError as error:
            log.error("%s", error)
            raise


def open_data(recipe: Recipe) -> tuple[TrainStream, HeldOut]:
    """The training stream, and the held-out images."""
    cfg, data = recipe.model, recipe.data
    train = open_collection(data.train)
    order = training_order(recipe, train)
    stream = TrainStream(train.source, order, data, cfg.img_size, cfg.in_chans, recipe.train.seed, data.workers)
    return stream, held_out(recipe, train, data.workers)


def _resumed(recipe: Recipe | None, out: Path) -> RunDir:
    run = RunDir.open(out)
    changed = _differences(to_dict(run.recipe), to_dict(recipe)) if recipe else []
    if changed:
        raise ConfigError(
            f"{out} was begun with other values of {', '.join(changed)}; "
            "resume without them, or start a new run with another --out"
        )
    return run


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Dotted names of the values that differ."""
    return [
        f"{table}.{name}" for table, values in ours.items() for name in values if values[name] != theirs[table][name]
    ]
