"""From a run directory to report.html and report.json."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.files import write_json, write_text
from nextpatch.core.output import check_file
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.measure.run_summary import RunHistory, RunSummary
from nextpatch.objective.registry import objective_of
from nextpatch.runs.recipe import recipe_digest
from nextpatch.runs.run import LoadedRun, load_run
from nextpatch.tasks.report.facts import Facts, read_facts
from nextpatch.tasks.report.figures import ModelOutputs, figures
from nextpatch.tasks.report.generated import DrawnSamples, SampleDrawer
from nextpatch.tasks.report.generated_cache import cache_key, keep, kept_samples
from nextpatch.tasks.report.generated_page import generated_section
from nextpatch.tasks.report.heldout import mean_guess_loss, some
from nextpatch.tasks.report.page import render
from nextpatch.tasks.report.pictures import Gallery, draw_gallery
from nextpatch.tasks.report.templates import need_jinja
from nextpatch.train.heldout import HeldOut, held_out
from nextpatch.train.showing import generates


@dataclass(frozen=True, repr=False)
class RunReport:
    """The page of a run, `page` (HTML, all in one file), its `verdict` in words, and the figures that it shows."""

    page: Path
    verdict: str
    summary: RunSummary
    history: RunHistory

    def __repr__(self) -> str:
        return f"{self.verdict}\n\n{self.summary}\n\nreport: {shown(self.page)}"

    def _repr_html_(self) -> str:
        page = escape(shown(self.page))
        return f"<p>{escape(self.verdict)}</p>{self.summary._repr_html_()}<p>report: <code>{page}</code></p>"

    def to_pandas(self) -> Any:
        """The loss curve as a pandas.DataFrame: a row for each entry, `kind` "train" or "val", `step`, `loss` ..."""
        return self.history.to_pandas()


def write_report(run: Path, *, images: int = 8, samples: bool = True) -> RunReport:
    """Write report.html (self-contained, no network) and report.json into `run`; returns what they say.

    With `samples`, those of a run that generates are drawn, or taken as they were kept for the same weights.
    Works at any stage of a run: what is not there (validation, probe, weights, data) is named on the page. Raises
    RunError when `run` is no run, ReportError when the `report` extra is not installed.
    """
    facts = read_facts(run)
    need_jinja()  # before the pictures, which take longest
    check_file(run / "report.html", beside=[run / "report.json"])
    outputs = _outputs(facts, images, samples)
    found = figures(facts, outputs)
    write_json(run / "report.json", found.to_dict())
    page, section = run / "report.html", None
    if outputs.generated is not None:
        section = generated_section(outputs.generated, run, facts.recipe.model, found.summary.images_per_s)
    write_text(page, render(found, objective_of(facts.recipe.model).words, outputs.gallery, facts.probe, section))
    return RunReport(page, found.verdict, found.summary, facts.history)


def _outputs(facts: Facts, count: int, samples: bool) -> ModelOutputs:
    """What the weights make of the held-out images, as far as both are to be had, and of nothing."""
    with phase("drawing the report"):
        images, baseline_loss = _held_out(facts)
        try:
            loaded = load_run(facts.path)
        except UserError as error:
            facts.notes.append(f"No pictures: {error}")
            return ModelOutputs(baseline_loss)
        gallery = None if images is None else _gallery(facts, loaded, images, count)
    drawn = generates(loaded.model) or loaded.model.cfg.upscale  # from nothing, or from a smaller image
    generated = _generated(facts, loaded, images) if samples and drawn else None
    return ModelOutputs(baseline_loss, gallery, loaded.step, generated)


def _held_out(facts: Facts) -> tuple[HeldOut | None, float | None]:
    """The held-out images, and the loss of guessing on them."""
    try:
        images = held_out(facts.recipe)
        return images, mean_guess_loss(facts.recipe, images)
    except (UserError, OSError) as error:  # the data has gone, shrunk below what was held out, or decodes no more
        facts.notes.append(f"No pictures of images and no baseline loss: {error}")
        return None, None


def _generated(facts: Facts, loaded: LoadedRun, images: HeldOut | None) -> DrawnSamples | None:
    """What was kept of the same weights, or drawn now and kept."""
    key = cache_key(loaded.step, recipe_digest(facts.recipe), images is not None)
    if (found := kept_samples(facts.path, key)) is not None:
        return found
    try:
        found = SampleDrawer(loaded.model.eval(), facts.recipe, images).draw()
        keep(found, facts.path, key)
    except (UserError, OSError) as error:
        facts.notes.append(f"No samples: {error}")
    return found


def _gallery(facts: Facts, loaded: LoadedRun, images: HeldOut, count: int) -> Gallery:
    """Completed images and features, with a note where the probe is of another step."""
    probed = facts.probe.checkpoint_step if facts.probe else None
    if probed is not None and probed != loaded.step:
        facts.notes.append(
            f"The probe measured step {probed}; the weights are now of step {loaded.step}; run nextpatch probe again."
        )
    return draw_gallery(loaded.model.eval(), facts.recipe, some(images, count), facts.path / "probe.safetensors")
