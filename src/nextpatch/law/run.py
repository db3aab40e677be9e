"""Fit a law to a study or a CSV file, and write it down: law.json, law.txt, law.html and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.files import write_text
from nextpatch.core.output import check_folder
from nextpatch.core.text import shown
from nextpatch.law.csv_runs import read_runs
from nextpatch.law.drawings import law_drawings
from nextpatch.law.study_runs import StudyRuns, runs_of_study
from nextpatch.law.words import between, exponent, law_text, short
from nextpatch.scaling.estimate import fit_law
from nextpatch.scaling.law import Law
from nextpatch.scaling.law_file import FILE, write_law
from nextpatch.scaling.run_end import Counted
from nextpatch.tasks.report.svg_file import svg_file
from nextpatch.tasks.report.templates import page_css, templates

PAGE, TEXT, FIGURES = "law.html", "law.txt", "figures"
_HERE = Path(__file__).parent


def fit_runs(
    source: Path, *, counted: Counted = "trunk", bootstraps: int = 1000, seed: int = 0, hold_out_largest: bool = False,
    train_images: int = 0,
) -> Law:  # fmt: skip
    """The law of the runs of a study's folder, or of a CSV file. UserError for what cannot be used or is too little."""
    found = _runs(source, train_images)
    try:
        return fit_law(
            found.ends, source=found.title, about=found.about, counted=counted, bootstraps=bootstraps, seed=seed,
            hold_out_largest=hold_out_largest, left_out=found.left_out,
        )  # fmt: skip
    except UserError as error:
        left = [f"{one.name}: {one.reason}" for one in found.left_out]
        raise type(error)(f"{shown(source)}: {error}" + (f"; left out: {'; '.join(left)}" if left else "")) from None


def _runs(source: Path, train_images: int) -> StudyRuns:
    if source.is_dir():
        return runs_of_study(source, train_images)
    ends, left_out = read_runs(source)
    return StudyRuns(ends, left_out, source.name, "")


def write_all(law: Law, out: Path) -> Path:
    """Everything into a folder; returns the path of law.json. ReportError where no page can be drawn; law.json and
    law.txt are there all the same."""
    check_folder(out, files=(FILE, TEXT, PAGE))
    out.mkdir(parents=True, exist_ok=True)
    write_law(out / FILE, law)
    write_text(out / TEXT, law_text(law) + "\n")
    drawn = law_drawings(law)
    write_text(out / PAGE, _page(law, drawn))
    for drawing in drawn:
        write_text(out / FIGURES / f"{drawing.name}.svg", svg_file(drawing.chart))
    return out / FILE


def _page(law: Law, drawn: list[Any]) -> str:
    page: str = (
        templates(_HERE)
        .get_template("law.html")
        .render(law=law, css=page_css(), title=_title(law), keys=_keys(law), drawn=drawn, text=law_text(law))
    )
    return page


def _title(law: Law) -> str:
    """The law in one sentence."""
    both = [name for name, one in (("parameters", law.alpha), ("images", law.beta)) if one.positive]
    if len(both) == 2:
        return "Larger models and more images both bring the loss down, as powers."
    return (
        f"The loss falls with {both[0]}; of the other no power is established." if both else "No power is established."
    )


def _keys(law: Law) -> list[tuple[str, str, str]]:
    """(label, value, note) of the few figures at the head."""
    found = [
        ("alpha, of parameters", short(law.alpha.value), exponent(law.alpha)),
        ("beta, of patches", short(law.beta.value), exponent(law.beta)),
        ("E, the floor", short(law.floor.value), between(law.floor)),
    ]
    if held := law.held_out:
        found.append(("Largest budget, held out", f"{100 * held.error:+.2f} %", "predicted against measured"))
    return found
