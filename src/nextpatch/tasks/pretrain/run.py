"""Pre-training from a resolved recipe to a run directory: where data, model and training meet."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.progress import phase
from nextpatch.core.writer import InUseError
from nextpatch.data.loader import TrainStream
from nextpatch.dist.materialize import materialize
from nextpatch.dist.mesh import Mesh, mesh_shape, open_mesh
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.dist.selftest import check_engine
from nextpatch.model.aim import AIM
from nextpatch.model.count import count_params
from nextpatch.model.precision import resolve_device, resolve_precision
from nextpatch.runs.export import EXPORTED, export_model
from nextpatch.runs.logs import log_to
from nextpatch.runs.recipe import Recipe, binding, recipe_from_dict
from nextpatch.runs.run import RunDir, load_run
from nextpatch.runs.sinks.names import chosen
from nextpatch.runs.tokenizer import check_tokenizer, with_own_tokenizer
from nextpatch.tasks.pretrain.budget import Speed, fitted, guessed, measured
from nextpatch.tasks.pretrain.data import open_data, reopened_data, warn_of_overlap
from nextpatch.tasks.pretrain.learner import Pretraining
from nextpatch.tasks.pretrain.memory import check_memory, memory_bytes
from nextpatch.tasks.pretrain.scales import measure_patches
from nextpatch.tasks.pretrain.short_run import short_run_advice
from nextpatch.tasks.pretrain.warm_start import begin_from, freeze_trunk, told_frozen
from nextpatch.train.heldout import HeldOut
from nextpatch.train.loop import Outcome, fit
from nextpatch.train.step import BadStepError
from nextpatch.weights.load import PIXEL_HEAD_FILE
from nextpatch.weights.pixel_head import save_pixel_head

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pretrained(Outcome):
    """How a session ended, and the run that it was of."""

    run: RunDir


def pretrain(
    recipe: Recipe | None,
    out: Path,
    resume: bool = False,
    console: Console | None = None,
    ranks: Ranks = ALONE,
    began_s: float | None = None,
) -> Pretrained:
    """Pre-train as a resolved `recipe` (no value left to choose) says, in a new run directory at `out`.

    With `resume` the run at `out` goes on from its newest checkpoint, by its own recipe, or is begun where there is
    none; a recipe given as well must agree with its own in everything that decides what is learned, and its other
    values hold for this session. Where the recipe has `train.minutes` and no steps, as many are fixed before the
    first as fit into that time since `began_s` (of `time.monotonic`, default: now). Called by every rank of `ranks`
    alike. Raises ConfigError, DataError or RunError for what cannot be used, BadStepError where the guard stops.
    """
    console = console or Console(quiet=not ranks.is_main)
    began_s = time.monotonic() if began_s is None else began_s
    with ranks.raise_on_all():
        run = _resumed(recipe, out) if resume and (recipe is None or RunDir.exists(out)) else None
        recipe = run.recipe if run else recipe
        if recipe is None:
            raise ConfigError("a new run needs a recipe")
        if ranks.is_main:  # which says it for all
            _check_share(recipe, ranks)
            check_memory(recipe, ranks)
            chosen(recipe.train.sinks)
    with ranks.only_writer(out, "pretrain"):
        with ranks.main_first(), phase("opening the images", console):
            stream, held = reopened_data(recipe, ranks) if run else open_data(recipe, ranks)
        new = run is None
        with ranks.main_first():
            run = run or (RunDir.create(out, recipe) if ranks.is_main else RunDir(out, with_own_tokenizer(recipe, out)))
            if ranks.is_main:
                run.write_environment(ranks.size)
        try:
            return _trained(run, stream, held, console, ranks, began_s, new)
        except ConfigError:
            if new and ranks.is_main:  # another value, such as more minutes, may be given with the same --out
                run.withdraw()
            raise


def _trained(
    run: RunDir, stream: TrainStream, held: HeldOut, console: Console, ranks: Ranks, began_s: float, new: bool
) -> Pretrained:
    """The session itself, written to the run's log."""
    recipe = run.recipe
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    with log_to(run.path / "log.txt", console) if ranks.is_main else nullcontext():
        try:
            if ranks.is_main:
                warn_of_overlap(stream.source, held, recipe)
            with phase("setting up the model and measuring its speed", console):
                model = _model(recipe, run, stream, ranks)
                run, speed = _timed(model, stream, held, run, ranks, began_s)
            recipe = run.recipe
            for line in short_run_advice(recipe) if new and ranks.is_main else ():
                log.info("%s", line)
            learner = Pretraining(model, stream, held, run, ranks)
            outcome = fit(learner, learner.task(), console, ranks, lambda step: speed.said(recipe, step))
            if outcome.step == recipe.train.steps:
                with ranks.raise_on_all():
                    if ranks.is_main:
                        _export(run)
            return Pretrained(run=run, step=outcome.step, signal=outcome.signal, elapsed_s=outcome.elapsed_s)
        except BadStepError as error:
            log.error("%s", error)
            raise


def _timed(
    model: AIM, stream: TrainStream, held: HeldOut, run: RunDir, ranks: Ranks, began_s: float
) -> tuple[RunDir, Speed]:
    """The run with its steps fixed, and what each will take; the fixed number is on the disk before it is used."""
    recipe, train = run.recipe, run.recipe.train
    if train.steps or not train.minutes:
        return run, guessed(model, held, recipe, ranks)
    log.info("measuring how many steps fit into %g minutes", train.minutes)
    speed = measured(model, stream, held, recipe, ranks)
    with ranks.raise_on_all():
        if ranks.is_main:
            run = run.refined(fitted(recipe, speed, 60 * train.minutes - (time.monotonic() - began_s)))
    run = RunDir(run.path, recipe_from_dict(ranks.broadcast(to_dict(run.recipe))))
    log.info("train.steps: %d (fits into %g minutes)", run.recipe.train.steps, train.minutes)
    return run, speed


def _model(recipe: Recipe, run: RunDir, stream: TrainStream, ranks: Ranks) -> AIM:
    """The model at its start, on this rank's device, spread as the recipe's engine says."""
    device = resolve_device(recipe.train.device)
    precision = resolve_precision(recipe.train.precision, device)
    mesh = None
    if ranks.spread:
        shape = _mesh_of_all(recipe, device, ranks)
        mesh = open_mesh(shape[:2], device)
        check_engine(mesh, device, ranks)
        log.info("%d ranks; copies of the model: %d, each spread over %d of them (%s)", ranks.size, *shape)
    model = materialize(recipe.model, recipe.train.seed, mesh, recipe.engine, precision, device)
    if recipe.train.freeze_trunk:
        freeze_trunk(model)
    goes_on = ranks.broadcast(any(run.checkpoints.glob("step_*")))
    with ranks.raise_on_all():  # of a run that goes on for its speed alone: what follows is in its checkpoints
        measure_patches(model, stream, recipe, *([1] if goes_on else []))
    if goes_on:
        return model
    if recipe.train.init:
        with ranks.raise_on_all():
            new = begin_from(model, recipe.train.init)
        log.info("began with the weights of %s", recipe.train.init)
        if new:
            log.info("at random, because these weights have none: %s", ", ".join(new))
        if recipe.train.freeze_trunk:
            log.info("%s", told_frozen(model))
    return model


def _mesh_of_all(recipe: Recipe, device: torch.device, ranks: Ranks) -> Mesh:
    """What rank 0 chooses from its own free memory: the others may have other amounts, and must not differ."""
    chosen = None
    with ranks.raise_on_all():
        if ranks.is_main:
            memory = memory_bytes(device) // (ranks.local_size if device.type == "cpu" else 1)
            chosen = mesh_shape(recipe.engine, ranks, count_params(recipe.model).total, memory)
    return Mesh(*ranks.broadcast(chosen))


def _export(run: RunDir) -> None:
    """The finished run's model as a file."""
    try:
        export_model(run)
    except InUseError as error:
        log.warning("%s is not written: %s", EXPORTED, error)
    if run.recipe.train.freeze_trunk:
        _save_head(run)


def _save_head(run: RunDir) -> None:
    """The fitted pixel head alone, small, for use with the weights that it was fitted to."""
    path = run.path / PIXEL_HEAD_FILE
    save_pixel_head(path, load_run(run.path).model)
    log.info("%s: use it as --weights %s+%s", path, run.recipe.train.init, path)


def _check_share(recipe: Recipe, ranks: Ranks) -> None:
    batch = recipe.train.global_batch_size
    if batch % ranks.size:
        fitting = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0 and n <= 2 * ranks.size)
        raise ConfigError(
            f"train.global_batch_size {batch} does not divide among {ranks.size} ranks; start {fitting} of them"
        )


def _resumed(recipe: Recipe | None, out: Path) -> RunDir:
    run = RunDir.open(out)
    check_tokenizer(recipe or run.recipe, out)
    if recipe is None:
        return run
    if changed := _differences(binding(run.recipe), binding(recipe)):
        raise ConfigError(
            f"{out} was started with other values of {', '.join(changed)}; "
            "resume without them, or start a new run with another --out (--init takes the weights of this one)"
        )
    return RunDir(out, with_own_tokenizer(recipe, out))


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Dotted names of the values that differ."""
    return [
        f"{table}.{name}"
        for table, values in ours.items()
        for name in (values | theirs[table])
        if values.get(name) != theirs[table].get(name)
    ]
