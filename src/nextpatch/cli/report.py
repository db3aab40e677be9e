"""`nextpatch report`: the page about a run, at any time."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nextpatch.cli.failure import Failure


@dataclass(frozen=True)
class Report:
    """Write report.html and report.json into a run; the page needs no network and can be sent to anyone."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help="directory of a run, finished or not")]
    images: Annotated[int, arg(help="held-out images to show")] = 8


def run(args: Report) -> int:
    """Write the page and say where it is."""
    from nextpatch.report.build import write_report
    from nextpatch.report.page import ReportError

    try:
        page = write_report(args.run, images=args.images)
    except ReportError as error:
        raise Failure(str(error)) from error
    print(json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["verdict"])
    print(f"report:      {page}")
    return 0


def try_probe_page(path: Path) -> None:
    """The page of a probe that belongs to no run, in the same way."""
    from nextpatch.report.measured import write_probe_page
    from nextpatch.report.page import ReportError

    try:
        print(f"page:        {write_probe_page(path)}")
    except (ReportError, ValueError, OSError) as error:
        print(f"nextpatch: no page: {error}", file=sys.stderr)


def try_report(path: Path) -> None:
    """The report after another verb, whose work is done and must not look failed if the page cannot be drawn."""
    try:
        run(Report(path))
    except (Failure, ValueError, OSError) as error:
        print(f"nextpatch: no report: {error}", file=sys.stderr)
