"""From a run directory to report.html and report.json."""

from __future__ import annotations

from pathlib import Path

from nextpatch.core.errors import UserError
from nextpatch.core.files import write_json, write_text
from nextpatch.core.output import check_file
from nextpatch.runs.run import load_run
from nextpatch.tasks.report.facts import Facts, read_facts
from nextpatch.tasks.report.figures import Scan, figures
from nextpatch.tasks.report.heldout import mean_guess_loss, some
from nextpatch.tasks.report.page import need_jinja, render
from nextpatch.tasks.report.pictures import draw_gallery
from nextpatch.train.heldout import held_out


def write_report(run: Path, *, images: int = 8) -> Path:
    """Write report.html (self-contained, no network) and report.json into `run`; returns the page's path.

    Works at any stage of a run: what is not there (validation, probe, weights, data) is named on the page. Raises
    RunError when `run` is no run, ReportError when the `report` extra is not installed.
    """
    facts = read_facts(run)
    need_jinja()  # before the pictures, which take longest
    check_file(run / "report.html", beside=[run / "report.json"])
    look = _look(facts, images)
    values = figures(facts, look)
    write_json(run / "report.json", values)
    page = run / "report.html"
    write_text(page, render(values, look.gallery, facts.probe))
    return page


def _look(facts: Facts, count: int) -> Scan:
    """What the weights make of the held-out images, as far as both are to be had."""
    try:
        images = held_out(facts.recipe)
        guess = mean_guess_loss(facts.recipe, images)
    except (UserError, OSError) as error:  # the data has gone, shrunk below what was held out, or decodes no more
        facts.notes.append(f"No pictures and no level of guessing: {error}")
        return Scan()
    try:
        loaded = load_run(facts.path)
    except UserError as error:
        facts.notes.append(f"No pictures: {error}")
        return Scan(guess)
    probed = facts.probe.checkpoint_step if facts.probe else None
    if probed is not None and probed != loaded.step:
        facts.notes.append(f"The probe measured step {probed}; the weights are now of step {loaded.step}: probe again.")
    gallery = draw_gallery(loaded.model.eval(), facts.recipe, some(images, count), facts.path / "probe.safetensors")
    return Scan(guess, gallery, loaded.step)
