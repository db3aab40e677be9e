"""`nextpatch check`: the proofs on a run's model, a recipe's or a small one, and a short verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.dist.materialize import materialize
from nextpatch.measure.table import Table, data_frame
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.absent import NoHead
from nextpatch.objective.objective import Objective, Words
from nextpatch.objective.registry import objective_of
from nextpatch.runs.given import read_recipe
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.runs.run import load_run
from nextpatch.tasks.check.draws import prove_draws
from nextpatch.tasks.check.low_res import prove_low_res
from nextpatch.tasks.check.proofs import prove
from nextpatch.tasks.check.subject import awake, small_config, subject_of
from nextpatch.tasks.check.told import Verdict
from nextpatch.tasks.check.training import prove_training
from nextpatch.tokenizer.of_model import settled


@dataclass(frozen=True, repr=False)
class CheckResult:
    """The outcome of every proof, of `what`; `conclusion` is the sentence that sums them up. True where all hold."""

    what: str
    verdicts: tuple[Verdict, ...]
    conclusion: str

    @classmethod
    def of(cls, what: str, verdicts: Sequence[Verdict], words: Words) -> CheckResult:
        """With the sentence that the objective's words make."""
        failed = sum(not verdict.holds for verdict in verdicts)
        if failed:
            return cls(what, tuple(verdicts), f"{failed} of {len(verdicts)} proofs fail: this is not {words.name}")
        return cls(what, tuple(verdicts), f"all {len(verdicts)} proofs hold: it {words.promise}")

    def __bool__(self) -> bool:
        return self.holds

    @property
    def holds(self) -> bool:
        """Whether every proof holds."""
        return all(verdict.holds for verdict in self.verdicts)

    def table(self) -> Table:
        """A row for each proof."""
        rows = [[verdict.claim, "holds" if verdict.holds else "FAILS", verdict.reason] for verdict in self.verdicts]
        return Table(self.what, ["claim", "", "reason"], rows, self.conclusion)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: a row for each proof, with claim, holds, reason."""
        return data_frame([{"claim": v.claim, "holds": v.holds, "reason": v.reason} for v in self.verdicts])


def check(target: Path | None, console: Console | None = None) -> int:
    """Print every proof's outcome; returns 0 when all hold and 1 otherwise.

    `target`: a run (its newest weights), a recipe file (its model with small widths) or None (size nano).
    """
    console = console or Console()
    with phase("setting up the model", console):
        model, what = model_to_check(target)
    console.print(f"Examining {examined(what, model)}, in float64", highlight=False, soft_wrap=True)
    objective = objective_of(model.cfg)
    with phase("proving", console):
        found = CheckResult.of(what, check_objective(objective, model), objective.words)
    for verdict in found.verdicts:
        mark = "[green]holds[/]" if verdict.holds else "[bold red]FAILS[/]"
        console.print(f"  {mark}  {verdict.claim}", highlight=False, soft_wrap=True)
        if verdict.reason:
            console.print(f"         {verdict.reason}", highlight=False, markup=False, soft_wrap=True)
    said, colon, rest = found.conclusion.partition(":")
    console.print(f"[bold {'green' if found else 'red'}]{said}[/]{colon}{rest}")
    return 0 if found else 1


def examined(what: str, model: AIM) -> str:
    """What is examined, in words."""
    rows, columns = model.cfg.grid
    return f"{what} on {rows} x {columns} patches"


def check_objective(objective: Objective, model: AIM) -> list[Verdict]:
    """Every proof of an objective on a model of ours, which is made float64: the examination is exact then.

    For one of another make see `nextpatch.tasks.check.foreign`.
    """
    subject = subject_of(objective, model.double())
    told = prove_low_res(subject, model)
    return [*prove(subject), *told, *prove_draws(objective), *prove_training(objective, model, subject.images)]


def model_to_check(target: Path | Recipe | ModelConfig | AIM | None) -> tuple[AIM, str]:
    """(a model small enough to be examined, what it is): of a run or a model with its weights, else a new one."""
    if isinstance(target, AIM):
        return _shrunk(target), "the model"
    if isinstance(target, Path) and target.is_dir():
        run = load_run(target)
        return _shrunk(run.model), f"{target} at step {run.step}"
    if target is None:
        cfg, what = ModelConfig(size="nano", img_size=(70, 56)), "a model of size nano"
    else:
        recipe = recipe_from_dict(read_recipe(str(target)), str(target)) if isinstance(target, Path) else target
        of = f"of {target}" if isinstance(target, Path) else "as configured"
        whole = recipe.model if isinstance(recipe, Recipe) else recipe
        cfg, what = small_config(settled(whole), weights=False), f"the model {of}, with small widths,"
    return awake(materialize(cfg, 0)), what


def _shrunk(model: AIM) -> AIM:
    """The same weights on a small grid; ConfigError for weights that predict nothing."""
    if isinstance(model.head, NoHead):
        raise ConfigError(
            "the weights have no head, so they predict nothing that could be examined; fit one: nextpatch fit-head, "
            "and give WEIGHTS+FILE"
        )
    small = AIM(small_config(model.cfg, weights=True))
    small.load_state_dict(model.state_dict())
    return awake(small)
