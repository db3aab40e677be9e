"""A study, run: planned and checked whole, then every run exactly once, and its result written as it grows."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from nextpatch.core.errors import ConfigError
from nextpatch.core.files import write_json
from nextpatch.core.machine import usable_cores
from nextpatch.core.progress import phase
from nextpatch.core.signals import StopSignals
from nextpatch.core.text import shown
from nextpatch.core.writer import InUseError, only_writer
from nextpatch.measure.paired import need_scipy
from nextpatch.measure.study_result import StudyResult
from nextpatch.study.collect import Runs, result_of
from nextpatch.study.config import StudyConfig
from nextpatch.study.kept import (
    Settled,
    add_times,
    check_same,
    read_failures,
    read_settled,
    write_settled,
    write_study,
)
from nextpatch.study.layout import Layout
from nextpatch.study.outputs import write_outputs
from nextpatch.study.plan import check_measurements, recipes_of, runs_of
from nextpatch.study.progress import StudyProgress
from nextpatch.study.reading import read_study
from nextpatch.study.schedule import Stop, default_jobs, perform_all
from nextpatch.study.work import Ended, Work
from nextpatch.study.works import works_of, write_recipes
from nextpatch.tasks.report.templates import ReportError

log = logging.getLogger(__name__)
Perform = Callable[[Sequence[Work], Stop, Callable[[str], None], Callable[[], None]], Iterator[Ended]]


@dataclass(frozen=True)
class Studied:
    """How a call ended: the result, the runs that failed with the reasons, the signal that stopped it, if any."""

    result: StudyResult
    failures: dict[str, str]
    signal: signal.Signals | None = None
    page: Path | None = None


@dataclass(frozen=True)
class _Ready:
    """A study whose every run is known."""

    study: StudyConfig
    layout: Layout
    settled: Settled
    runs: Runs
    works: dict[str, Work]

    def result(self, failures: dict[str, str]) -> StudyResult:
        """What it has come to."""
        return result_of(self.study, self.settled.recipes, self.runs, self.layout, self.works, failures)


def run_study(
    study: StudyConfig,
    out: Path,
    *,
    runs: Path | None = None,
    jobs: int = 0,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
    ray: bool = False,
    console: Console | None = None,
) -> Studied:
    """Run what is left of a study in the folder `out`, or the part of it that has these `seeds` and variants.

    The runs lie in `runs` (default: in `out`), where other studies find them. `jobs` at a time (0: as many as the
    machine suggests), or with `ray` as many as Ray's machines take. A first SIGINT or SIGTERM stops every run after it
    has saved; the same call goes on. A run that fails is named and the others go on; the next call tries it again.
    Raises ConfigError or DataError, before the first run starts, for a study that cannot be run or is not the one that
    was begun there; InUseError where it runs now.
    """
    console = console or Console()
    if study.claims:
        need_scipy()
    _check_part(study, seeds, only)
    with only_writer(out, "study"):
        devices = torch.cuda.device_count()
        with phase("planning every variant", console):
            ready = _planned(study, out.absolute(), runs, jobs or default_jobs(len(study.variants), devices))
        wanted = [ready.runs[v.name, seed].folder for seed in study.seeds for v in study.variants
                  if (not seeds or seed in seeds) and (not only or v.name in only)]  # fmt: skip
        works = [ready.works[name] for name in dict.fromkeys(wanted)]
        jobs = jobs or default_jobs(len(works), devices)
        return _performed(ready, works, _performer(ready.settled, jobs, devices, ray), jobs, console)


def show_study(out: Path) -> Studied:
    """What the study at `out` has come to, also while it runs; its page is written where nobody else does so now."""
    layout = Layout.of(out.absolute())
    settled = read_settled(layout)
    if settled is None:
        raise ConfigError(f"{shown(out)} holds no study; begin one with: nextpatch study FILE --out {shown(out)}")
    ready = _ready(read_study(layout.study), Layout.of(layout.out, _place(settled.runs)), settled)
    failures = read_failures(layout)
    result, page = ready.result(failures), None
    try:
        with only_writer(out, "study"):
            page = _page(result, layout.out, ready.layout.runs)
    except InUseError as error:
        log.info("%s", error)
    return Studied(result, failures, page=page)


def _planned(study: StudyConfig, out: Path, runs: Path | None, jobs: int) -> _Ready:
    """All that can be known and refused before the first run, and written down once it is."""
    begun = read_settled(Layout.of(out))
    check_same(Layout.of(out), study)
    settled = begun or Settled(max(1, usable_cores() // jobs))
    if runs is not None:
        settled = replace(settled, runs=str(runs.absolute()))
    layout = Layout.of(out, _place(settled.runs))
    check_measurements(study)
    recipes = recipes_of(study, settled.threads, settled.recipes)
    planned = runs_of(study, recipes, settled.folders)
    folders = settled.folders | {
        run.digest: _existing(layout, run.digest) or run.folder
        for run in planned.values()
        if run.digest not in settled.folders
    }
    settled = replace(settled, recipes=recipes, folders=folders)
    write_study(layout, study)
    write_settled(layout, settled)
    ready = _ready(study, layout, settled)
    write_recipes(ready.runs.values(), layout)
    return ready


def _ready(study: StudyConfig, layout: Layout, settled: Settled) -> _Ready:
    known = replace(study, variants=tuple(one for one in study.variants if one.name in settled.recipes))
    runs = runs_of(known, settled.recipes, settled.folders)
    return _Ready(study, layout, settled, runs, works_of(runs.values(), layout))


def _place(runs: str) -> Path | None:
    return Path(runs) if runs else None


def _existing(layout: Layout, digest: str) -> str:
    """The folder of the same run, made by whichever study; "" where there is none."""
    return next((path.name for path in sorted(layout.runs.glob(f"*-{digest}"))), "")


def _check_part(study: StudyConfig, seeds: Sequence[int], only: Sequence[str]) -> None:
    for name in only:
        study.variant(name)
    if unknown := [str(seed) for seed in seeds if seed not in study.seeds]:
        known = ", ".join(map(str, study.seeds))
        raise ConfigError(f"the study has no seed {', '.join(unknown)}, only {known}; add it to the study file")


def _performer(settled: Settled, jobs: int, devices: int, ray: bool) -> Perform:
    """How the runs are worked on: by this process's own children, or by Ray's workers."""
    threads = {"OMP_NUM_THREADS": str(settled.threads)}
    if ray:
        from nextpatch.study.on_ray import perform_on_ray

        return lambda works, stop, began, look: perform_on_ray(works, threads, jobs, stop, began, look)
    own = [threads | ({"CUDA_VISIBLE_DEVICES": _device(slot, devices)} if devices else {}) for slot in range(jobs)]
    return lambda works, stop, began, look: perform_all(works, own, stop, began, look)


def _device(slot: int, devices: int) -> str:
    """The CUDA device of a slot, among those that this process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return seen[slot % devices] if len(seen) == devices and seen[0] else str(slot % devices)


def _performed(ready: _Ready, works: Sequence[Work], perform: Perform, jobs: int, console: Console) -> Studied:
    layout, failures, stop = ready.layout, read_failures(ready.layout), Stop()
    steps = {run.folder: run.recipe.train.steps for run in ready.runs.values()}
    todo = [work for work in works if not work.done]
    _, page = _written(ready, failures)

    def began(name: str) -> None:
        progress.began(name)
        if failures.pop(name, None) is not None:
            write_json(layout.failures, failures)

    def look() -> None:
        if signals.received is not None:
            stop.ask()
        progress.look()

    with StopSignals() as signals, StudyProgress(works, steps, layout.runs, jobs, console) as progress:
        for ended in perform(todo, stop, began, look):
            add_times(layout, ended.times)
            if ended.how == "failed":
                failures[ended.name] = ended.reason
                write_json(layout.failures, failures)
            progress.ended(ended, _told(ended, layout))
            _, page = _written(ready, failures)
    result, page = _written(ready, failures)
    return Studied(result, failures, signals.received, page)


def _written(ready: _Ready, failures: dict[str, str]) -> tuple[StudyResult, Path | None]:
    result = ready.result(failures)
    write_json(ready.layout.result, result.to_dict())
    return result, _page(result, ready.layout.out, ready.layout.runs)


def _page(result: StudyResult, out: Path, runs: Path) -> Path | None:
    """The page, where what it needs is installed; a page that cannot be written costs no run."""
    try:
        return write_outputs(result, out, runs)
    except (ReportError, OSError) as error:
        log.warning("%s", error)
        return None


def _told(ended: Ended, layout: Layout) -> str:
    if ended.how == "failed":
        lines = "\n    ".join(ended.reason.splitlines())
        return f"{ended.name} FAILED: {lines}\n    log: {layout.log(ended.name)}; the same command tries it again"
    spent = sum(line["elapsed_s"] for line in ended.times)
    return f"{ended.name} {ended.how}" + (f" in {spent:,.0f} s" if ended.how == "done" else "")
