"""Pre-training from a resolved recipe to a run directory: where data, model and training meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console

from nextpatch.config import ConfigError, to_dict
from nextpatch.data.loader import TrainStream
from nextpatch.data.order import holdout
from nextpatch.data.source import Source, open_source
from nextpatch.model.aim import AIM
from nextpatch.model.init import init_weights
from nextpatch.model.precision import resolve_device
from nextpatch.train.logs import log_to
from nextpatch.train.loop import Outcome, fit
from nextpatch.train.recipe import Recipe
from nextpatch.train.run import RunDir
from nextpatch.train.validation import HeldOut


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
    stream, held_out = open_data(recipe)
    run = run or RunDir.create(out, recipe)
    run.write_environment()
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    model = AIM(recipe.model)
    init_weights(model, recipe.train.seed)
    with log_to(run.path / "log.txt", console):
        return fit(model.to(resolve_device(recipe.train.device)), stream, held_out, run, console)


def open_data(recipe: Recipe) -> tuple[TrainStream, HeldOut]:
    """The training stream, and the held-out images: of `data.val` where given, else `val_images` of `data.train`."""
    cfg, data, seed = recipe.model, recipe.data, recipe.train.seed
    source = open_source(data.train)
    if data.val:
        indices, val_source = np.arange(len(source)), open_source(data.val)
        held_indices = _some(val_source, data.val_images, seed)
    else:
        val_source = source
        indices, held_indices = holdout(len(source), data.val_images, seed)
    stream = TrainStream(source, indices, data, cfg.img_size, cfg.in_chans, seed, data.workers)
    return stream, HeldOut(val_source, held_indices, cfg, data.workers)


def _some(source: Source, count: int, seed: int) -> Int64[np.ndarray, " held"]:
    """`count` indices of the source, the same for the same seed; all of a smaller one."""
    return holdout(len(source), count, seed)[1] if count < len(source) else np.arange(len(source))


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
