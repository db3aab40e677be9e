"""`nextpatch report`: the page about a run, at any time."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.cli.failure import Failure
from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import UserError
from nextpatch.core.fields import Flag
from nextpatch.core.text import shown
from nextpatch.core.writer import only_writer


@dataclass(frozen=True)
class Report:
    """Write report.html and report.json into a run; the page needs no network and can be sent to anyone.

    examples:
      nextpatch report runs/photos
      nextpatch report runs/photos --images 16
      nextpatch report runs/flow --no-samples
    """

    run: Annotated[Path, Flag("RUN", positional=True)]
    """Directory of a run, finished or not."""
    images: int = 8
    """How many held-out images to show."""
    samples: bool = True
    """Draw samples of a run that generates, about a minute at most; they are kept beside it for the next page."""


def run(args: Report) -> int:
    """Write the page and say where it is."""
    from nextpatch.tasks.report.build import write_report

    check_bounds(args, images=(1, 1000))
    held = only_writer(args.run / "report.html", "report", file=True)  # the run itself may be training now
    with held if args.run.is_dir() else nullcontext():
        found = write_report(args.run, images=args.images, samples=args.samples)
    print(found.verdict)
    print(f"report:      {shown(found.page)}")
    return 0


def try_probe_page(path: Path) -> None:
    """The page of a probe that belongs to no run, in the same way."""
    from nextpatch.tasks.report.probe_page import write_probe_page

    with _not_failing("page"):
        print(f"page:        {write_probe_page(path)}")


def try_report(path: Path) -> None:
    """The report after another verb, whose work is done and must not look failed if the page cannot be drawn."""
    with _not_failing("report"):
        run(Report(path))


@contextmanager
def _not_failing(what: str) -> Iterator[None]:
    try:
        yield
    except (Failure, UserError, OSError) as error:
        print(f"nextpatch: the {what} was not written: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
        print(f"nextpatch: no {what}: this is a mistake in nextpatch; please report the lines above", file=sys.stderr)
