"""A study, run: planned and checked whole, then every run exactly once, and its result written as it grows."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from nextpatch.core.errors import ConfigError
from nextpatch.core.files import write_json
from nextpatch.core.progress import phase
from nextpatch.core.signals import StopSignals
from nextpatch.core.text import shown
from nextpatch.core.writer import InUseError, only_writer
from nextpatch.measure.paired import need_scipy
from nextpatch.measure.study_result import StudyResult
from nextpatch.study.config import StudyConfig
from nextpatch.study.kept import Settled, add_times, read_failures
from nextpatch.study.layout import Layout
from nextpatch.study.outputs import write_outputs
from nextpatch.study.progress import StudyProgress
from nextpatch.study.ready import Ready, as_it_is, made_ready
from nextpatch.study.schedule import Stop, default_jobs, perform_all
from nextpatch.study.work import Ended, RunWork
from nextpatch.tasks.report.templates import ReportError

log = logging.getLogger(__name__)
Perform = Callable[..., Iterator[Ended]]  # of works, with stop, began and look, as perform_all has them


@dataclass(frozen=True)
class Studied:
    """How a call ended: the result, the runs that failed with the reasons, the signal that stopped it, if any."""

    result: StudyResult
    failures: dict[str, str]
    signal: signal.Signals | None = None
    page: Path | None = None


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
        plan = partial(made_ready, study, out.absolute(), runs, jobs or default_jobs(len(study.variants), devices))
        with phase("planning every variant", console):
            ready = plan()
        chosen = [one for one in study.variants if not only or one.name in only]
        performer = partial(_performer, ready.settled, jobs, devices, ray)
        fits = [ready.fits[name] for name in dict.fromkeys(one.tokenizer for one in chosen) if name]
        if any(not work.done for work in fits):
            done = _performed(ready, fits, performer, console, "tokenizers")
            if done.signal is not None:
                return done
            ready = plan()
        wanted = [(one.name, seed) for seed in study.seeds for one in chosen if not seeds or seed in seeds]
        folders = dict.fromkeys(ready.runs[key].folder for key in wanted if key in ready.runs)
        return _performed(ready, [ready.works[name] for name in folders], performer, console, "runs")


def show_study(out: Path) -> Studied:
    """What the study at `out` has come to, also while it runs; its page is written where nobody else does so now."""
    ready = as_it_is(out.absolute())
    if ready is None:
        raise ConfigError(f"{shown(out)} holds no study; begin one with: nextpatch study FILE --out {shown(out)}")
    failures = read_failures(ready.layout)
    result, page = ready.result(failures), None
    try:
        with only_writer(out, "study"):
            page = _page(result, ready.layout.out, ready.layout.runs)
    except InUseError as error:
        log.info("%s", error)
    return Studied(result, failures, page=page)


def _check_part(study: StudyConfig, seeds: Sequence[int], only: Sequence[str]) -> None:
    for name in only:
        study.variant(name)
    if unknown := [str(seed) for seed in seeds if seed not in study.seeds]:
        known = ", ".join(map(str, study.seeds))
        raise ConfigError(f"the study has no seed {', '.join(unknown)}, only {known}; add it to the study file")


def _performer(settled: Settled, jobs: int, devices: int, ray: bool, works: int) -> tuple[Perform, int]:
    """How so many runs are worked on, and how many of them at a time: by this process's own children, or by Ray's."""
    threads = {"OMP_NUM_THREADS": str(settled.threads)}
    if ray:
        from nextpatch.study.on_ray import perform_on_ray

        return partial(perform_on_ray, env=threads, jobs=jobs), jobs or 1
    jobs = jobs or default_jobs(works, devices)
    own = [threads | ({"CUDA_VISIBLE_DEVICES": _device(slot, devices)} if devices else {}) for slot in range(jobs)]
    return partial(perform_all, environments=own), jobs


def _device(slot: int, devices: int) -> str:
    """The CUDA device of a slot, among those that this process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return seen[slot % devices] if len(seen) == devices and seen[0] else str(slot % devices)


def _performed(
    ready: Ready, works: Sequence[RunWork], performer: Callable[[int], tuple[Perform, int]], console: Console, what: str
) -> Studied:
    """RunWork on what is not done of `works`, and write down what comes of it as it comes."""
    layout, failures, stop = ready.layout, read_failures(ready.layout), Stop()
    perform, jobs = performer(len(works))
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

    with StopSignals() as signals, StudyProgress(what, works, steps, layout.runs, jobs, console) as progress:
        for ended in perform(todo, stop=stop, began=began, look=look):
            add_times(layout, ended.times)
            if ended.how == "failed":
                failures[ended.name] = ended.reason
                write_json(layout.failures, failures)
            progress.ended(ended, _told(ended, layout))
            _, page = _written(ready, failures)
    result, page = _written(ready, failures)
    return Studied(result, failures, signals.received, page)


def _written(ready: Ready, failures: dict[str, str]) -> tuple[StudyResult, Path | None]:
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
