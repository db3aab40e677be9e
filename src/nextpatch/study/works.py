"""The command lines of every run of a study: the training first, then what is measured of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nextpatch.core.files import digest_of_json, write_text
from nextpatch.data.collection import absolute
from nextpatch.runs.export import EXPORTED
from nextpatch.runs.recipe import Recipe
from nextpatch.study.config import StudyConfig
from nextpatch.study.layout import Layout
from nextpatch.study.plan import DIGITS, Measurement, PlannedRun, as_text, flags_of, run_digest
from nextpatch.study.work import Command, RunWork

RESULTS = {"probe": "probe.json", "finetune": "finetune.json"}  # that is there when a measurement is done
_IMAGES = ("data", "test")


def works_of(runs: Iterable[PlannedRun], layout: Layout) -> dict[str, RunWork]:
    """The work on each run, by its folder."""
    unique = {run.folder: run for run in runs}
    return {
        name: RunWork(name, _commands(run, layout), layout.log(name), run.flops, run.seed)
        for name, run in unique.items()
    }


def fits_of(study: StudyConfig, base: Recipe, layout: Layout) -> dict[str, RunWork]:
    """The fitting of each tokenizer, by its name: on the images that the base learns from, as its seed 0 sees them."""
    found = {}
    for name, options in study.tokenizers.items():
        digest = digest_of_json({"options": options, "base": run_digest(base)})[:DIGITS]
        folder = f"tokenizer-{name}-{digest}"
        file = layout.tokenizer(folder)
        words = ("tokenizer", "fit", "--recipe", str(layout.recipe(folder)), "--out", str(file), *flags_of(options))
        found[name] = RunWork(folder, (Command(words, file, file, file=True),), layout.log(folder))
    return found


def write_recipe(recipe: Recipe, folder: str, layout: Layout) -> None:
    """The recipe that a command is started by."""
    path, text = layout.recipe(folder), as_text(recipe)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_recipes(runs: Iterable[PlannedRun], layout: Layout) -> None:
    """The recipes that the trainings are started by."""
    for run in runs:
        write_recipe(run.recipe, run.folder, layout)


def result_file(run: PlannedRun, one: Measurement, layout: Layout) -> Path:
    """Where a measurement's result is, when it is done."""
    return layout.measured(run.folder, one.kind, one.digest) / RESULTS[one.kind]


def _commands(run: PlannedRun, layout: Layout) -> tuple[Command, ...]:
    path = layout.runs / run.folder
    words = ("pretrain", str(layout.recipe(run.folder)), "--out", str(path), "--resume")
    training = Command(words, path / EXPORTED, path)
    return (training, *(_measuring(run, one, layout) for one in run.measurements))


def _measuring(run: PlannedRun, one: Measurement, layout: Layout) -> Command:
    path, place = str(layout.runs / run.folder), layout.measured(run.folder, one.kind, one.digest)
    values = {name: absolute(value) if name in _IMAGES and value else value for name, value in one.values.items()}
    if values.get("step") == -1:
        del values["step"]
    first = ("probe", path) if one.kind == "probe" else ("finetune", "--weights", path, "--resume")
    return Command((*first, "--out", str(place), *flags_of(values)), place / RESULTS[one.kind], place)
