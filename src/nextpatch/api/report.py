"""`nextpatch.report`: the page about a run."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.core.errors import ConfigError
from nextpatch.core.writer import only_writer
from nextpatch.tasks.report.build import RunReport, write_report


def report(
    run: str | os.PathLike[str], *, images: int = 8, samples: bool = True, data: Images | None = None,
    quiet: bool = False,
) -> RunReport:  # fmt: skip
    """Write report.html and report.json into a run, finished or not; the page needs no network.

    `run`: its directory, or what `pretrain` returned. `images`: how many held-out images to show. `samples`: draw
    samples of a run that generates, about a minute at most; they are kept beside it for the next page. `data`: the
    images in memory that the run learned from, where this program does not hold them any more; without them the page
    has no pictures. Raises RunError when there is no run, ReportError when the `report` extra is not installed.

    >>> import nextpatch
    >>> page = nextpatch.report(nano_run, images=2, quiet=True)
    >>> page.page.name, page.summary.step
    ('report.html', 2)
    """
    if images < 1:
        raise ConfigError(f"images {images} must be at least 1")
    place, held = Path(run), None if data is None else named(data)
    with session(quiet):
        alone = only_writer(place / "report.html", "report", file=True)  # the run itself may be training now
        with alone if place.is_dir() else nullcontext():
            found = write_report(place, images=images, samples=samples)
    del held  # until here
    return found
