"""`nextpatch check`: the proofs on a run's model, a recipe's or a small one, and a short verdict."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from nextpatch.core.progress import phase
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.objective import Objective
from nextpatch.objective.registry import objective_of
from nextpatch.runs.recipe import load_recipe
from nextpatch.runs.run import load_run
from nextpatch.tasks.check.proofs import Verdict, prove
from nextpatch.tasks.check.subject import small_config, subject_of
from nextpatch.tasks.check.training import prove_training


def check(target: Path | None, console: Console | None = None) -> int:
    """Print every proof's outcome; returns 0 when all hold and 1 otherwise.

    `target`: a run (its newest weights), a recipe file (its model with small widths) or None (size nano).
    """
    console = console or Console()
    with phase("setting up the model", console):
        model, what = _model(target)
    rows, columns = model.cfg.grid
    console.print(f"Examining {what} on {rows} x {columns} patches, in float64", highlight=False, soft_wrap=True)
    objective = objective_of(model.cfg)
    with phase("proving", console):
        verdicts = check_objective(objective, model)
    for verdict in verdicts:
        mark = "[green]holds[/]" if verdict.holds else "[bold red]FAILS[/]"
        console.print(f"  {mark}  {verdict.claim}", highlight=False, soft_wrap=True)
        if verdict.reason:
            console.print(f"         {verdict.reason}", highlight=False, markup=False, soft_wrap=True)
    failed = sum(not verdict.holds for verdict in verdicts)
    if failed:
        console.print(f"[bold red]{failed} of {len(verdicts)} proofs fail[/]: this is not {objective.words.name}")
        return 1
    console.print(f"[bold green]all {len(verdicts)} proofs hold[/]: it {objective.words.promise}")
    return 0


def check_objective(objective: Objective, model: AIM) -> list[Verdict]:
    """Every proof of an objective on a model of ours, which is made float64: the examination is exact then.

    For one of another make see `nextpatch.tasks.check.foreign`.
    """
    subject = subject_of(objective, model.double())
    return [*prove(subject), *prove_training(objective, model, subject.images)]


def _model(target: Path | None) -> tuple[AIM, str]:
    if target is not None and target.is_dir():
        run = load_run(target)
        model = AIM(small_config(run.recipe.model, weights=True))
        model.load_state_dict(run.model.state_dict())
        return model, f"{target} at step {run.step}"
    if target is None:
        cfg, what = ModelConfig(size="nano", img_size=(70, 56)), "a model of size nano"
    else:
        cfg, what = small_config(load_recipe(target).model, weights=False), f"the model of {target}, with small widths,"
    model = AIM(cfg)
    init_weights(model, 0)
    return model, what
