"""The command lines of every run of a study: the training first, then what is measured of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nextpatch.core.files import write_text
from nextpatch.data.collection import absolute
from nextpatch.runs.export import EXPORTED
from nextpatch.study.layout import Layout
from nextpatch.study.plan import Measurement, PlannedRun, as_text, flags_of
from nextpatch.study.work import Step, Work

RESULTS = {"probe": "probe.json", "finetune": "finetune.json"}  # that is there when a measurement is done
_IMAGES = ("data", "test")


def works_of(runs: Iterable[PlannedRun], layout: Layout) -> dict[str, Work]:
    """The work on each run, by its folder."""
    unique = {run.folder: run for run in runs}
    return {
        name: Work(name, _steps(run, layout), layout.log(name), run.flops, run.seed) for name, run in unique.items()
    }


def write_recipes(runs: Iterable[PlannedRun], layout: Layout) -> None:
    """The recipes that the trainings are started by."""
    for run in runs:
        path, text = layout.recipe(run.folder), as_text(run.recipe)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def result_file(run: PlannedRun, one: Measurement, layout: Layout) -> Path:
    """Where a measurement's result is, when it is done."""
    return layout.measured(run.folder, one.kind, one.digest) / RESULTS[one.kind]


def _steps(run: PlannedRun, layout: Layout) -> tuple[Step, ...]:
    path = layout.runs / run.folder
    words = ("pretrain", str(layout.recipe(run.folder)), "--out", str(path), "--resume")
    training = Step(words, path / EXPORTED, path)
    return (training, *(_measuring(run, one, layout) for one in run.measurements))


def _measuring(run: PlannedRun, one: Measurement, layout: Layout) -> Step:
    path, place = str(layout.runs / run.folder), layout.measured(run.folder, one.kind, one.digest)
    values = {name: absolute(value) if name in _IMAGES and value else value for name, value in one.values.items()}
    if values.get("step") == -1:
        del values["step"]
    first = ("probe", path) if one.kind == "probe" else ("finetune", "--weights", path, "--resume")
    return Step((*first, "--out", str(place), *flags_of(values)), place / RESULTS[one.kind], place)
