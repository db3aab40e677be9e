"""`nextpatch.report`: the page about a run."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextpatch.api.images import Images, named
from nextpatch.api.pretrain import result_of
from nextpatch.api.session import session
from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.core.reading import read_json
from nextpatch.core.writer import only_writer
from nextpatch.measure.run_summary import RunHistory, RunSummary
from nextpatch.tasks.report.build import write_report


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The page of a run, `page` (HTML, all in one file), its `verdict` in words, and the figures that it shows."""

    page: Path
    verdict: str
    summary: RunSummary
    history: RunHistory

    def __repr__(self) -> str:
        return f"{self.verdict}\n\n{self.summary}\n\nreport: {self.page}"

    def _repr_html_(self) -> str:
        return f"<p>{self.verdict}</p>{self.summary._repr_html_()}<p>report: <code>{self.page}</code></p>"

    def to_pandas(self) -> Any:
        """The loss curve as a pandas.DataFrame: a row for each entry, `kind` "train" or "val", `step`, `loss` ..."""
        return self.history.to_pandas()


def report(run: str | os.PathLike[str], *, images: int = 8, data: Images | None = None, quiet: bool = False) -> Report:
    """Write report.html and report.json into a run, finished or not; the page needs no network.

    `run`: its directory, or what `pretrain` returned. `images`: how many held-out images to show. `data`: the images in
    memory that the run learned from, where this program does not hold them any more; without them the page has no
    pictures. Raises RunError when there is no run, ReportError when the `report` extra is not installed.

    >>> import nextpatch
    >>> page = nextpatch.report(nano_run, images=2, quiet=True)
    >>> page.page.name, page.summary.step
    ('report.html', 2)
    """
    if images < 1:
        raise ConfigError(f"images {images} shows nothing; give 1 or more")
    place, held = Path(run), None if data is None else named(data)
    with session(quiet):
        alone = only_writer(place / "report.html", "report", file=True)  # the run itself may be training now
        with alone if place.is_dir() else nullcontext(), phase("drawing the report"):
            page = write_report(place, images=images)
    del held  # until here
    verdict = read_json(page.with_suffix(".json"), "the report's values", "write the report again")["verdict"]
    found = result_of(place)
    return Report(page, str(verdict), found.summary, found.history)
