"""A study made ready: everything planned, compared with what was begun before, and written down before a run starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nextpatch.core.machine import usable_cores
from nextpatch.measure.study_result import StudyResult
from nextpatch.runs.recipe import Recipe
from nextpatch.study.collect import Runs, result_of
from nextpatch.study.config import StudyConfig, Variant
from nextpatch.study.kept import Settled, check_same, read_settled, write_settled, write_study
from nextpatch.study.layout import Layout
from nextpatch.study.plan import PlannedRun, check_measurements, recipes_of, resolved, runs_of
from nextpatch.study.reading import read_study
from nextpatch.study.work import RunWork
from nextpatch.study.works import fits_of, works_of, write_recipe, write_recipes


@dataclass(frozen=True)
class Ready:
    """A study of which every run is known, but for those that wait for a tokenizer.

    `fits` is the work on tokenizers by their names, `works` that on runs by their folders.
    """

    study: StudyConfig
    layout: Layout
    settled: Settled
    fits: dict[str, RunWork]
    runs: Runs
    works: dict[str, RunWork]

    def result(self, failures: dict[str, str]) -> StudyResult:
        """What it has come to; `failures` are by the name of the work."""
        waiting = {name: failures[work.name] for name, work in self.fits.items() if work.name in failures}
        recipes = self.settled.recipes
        return result_of(self.study, recipes, self.runs, self.layout, self.works, failures, waiting)


def made_ready(study: StudyConfig, out: Path, runs: Path | None, jobs: int) -> Ready:
    """All that can be known and refused before the first run, written down once it is. `jobs` decides the threads of
    a run when a study begins; they stay, whatever machine goes on with it."""
    begun = read_settled(Layout.of(out))
    check_same(Layout.of(out), study)
    settled = begun or Settled(max(1, usable_cores() // jobs))
    if runs is not None:
        settled = replace(settled, runs=str(runs.absolute()))
    layout = Layout.of(out, _place(settled.runs))
    check_measurements(study)
    base = _base(study, settled)
    settled = replace(settled, base=base)
    fits = _fits(study, base, layout)
    tokenizers = {name: work.commands[0].result for name, work in fits.items()}
    recipes = recipes_of(study, settled.threads, settled.recipes, tokenizers)
    settled = replace(settled, recipes=recipes)
    planned = runs_of(_part(study, settled), recipes, settled.folders)
    folders = {run.digest: _existing(layout, run) for run in planned.values() if run.digest not in settled.folders}
    settled = replace(settled, folders=settled.folders | folders)
    write_study(layout, study)
    write_settled(layout, settled)
    if base is not None:
        for work in fits.values():
            write_recipe(base, work.name, layout)
    ready = _ready(study, layout, settled, fits)
    write_recipes(ready.runs.values(), layout)
    return ready


def as_it_is(out: Path) -> Ready | None:
    """The study at `out` as it was written down, with nothing planned or changed; None where there is none."""
    layout = Layout.of(out)
    settled = read_settled(layout)
    if settled is None:
        return None
    study, layout = read_study(layout.study), Layout.of(out, _place(settled.runs))
    return _ready(study, layout, settled, _fits(study, settled.base, layout))


def _ready(study: StudyConfig, layout: Layout, settled: Settled, fits: dict[str, RunWork]) -> Ready:
    runs = runs_of(_part(study, settled), settled.recipes, settled.folders)
    return Ready(study, layout, settled, fits, runs, works_of(runs.values(), layout))


def _base(study: StudyConfig, settled: Settled) -> Recipe | None:
    """The recipe that tokenizers are fitted by: the base alone; None of a study that has none."""
    if not study.tokenizers:
        return None
    return settled.base or resolved(study, Variant(name="base"), settled.threads, {})


def _fits(study: StudyConfig, base: Recipe | None, layout: Layout) -> dict[str, RunWork]:
    return fits_of(study, base, layout) if base else {}


def _part(study: StudyConfig, settled: Settled) -> StudyConfig:
    """The study without the variants whose recipe is not known yet."""
    return replace(study, variants=tuple(one for one in study.variants if one.name in settled.recipes), claims=())


def _place(runs: str) -> Path | None:
    return Path(runs) if runs else None


def _existing(layout: Layout, run: PlannedRun) -> str:
    """The folder of the same run, made by whichever study; its own where there is none."""
    return next((path.name for path in sorted(layout.runs.glob(f"*-{run.digest}"))), run.folder)
