"""`nextpatch law fit` and `show`: scaling laws of the runs of a study, or of a table of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.cli.verb import Output, Verb
from nextpatch.core.bounds import COUNT, SEED, check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.text import shown
from nextpatch.scaling.run_end import Counted


@dataclass(frozen=True)
class LawFit:
    """Fit loss = E + A N^-alpha + B D^-beta to complete runs, with 90 % intervals, and say how budgets are spent best.

    N counts parameters, D patches seen. Runs that are not at the end of their schedule are named and left out. The
    columns of a CSV file are in docs/scaling.md.

    examples:
      nextpatch study scaling --out studies/scaling
      nextpatch law fit studies/scaling --out laws/scaling --hold-out-largest
      nextpatch law fit runs.csv --out laws/mine
      nextpatch plan --from-law laws/mine --flops 1e18
    """

    source: Annotated[Path, Flag("STUDY|CSV", positional=True)]
    """Folder of a study, or a CSV file with a line for each run."""
    out: Annotated[Path, Flag("DIR")]
    """Folder for law.json, law.txt, law.html and figures."""
    counted: Counted = "trunk"
    """Which parameters N counts: those of the trunk, or all with the head."""
    hold_out_largest: bool = False
    """Also fit without the largest budget, and compare what that predicts with its loss."""
    bootstraps: int = 1000
    """How often configurations are drawn again for the intervals."""
    seed: int = 0
    """Seed of these draws."""
    train_images: int = 0
    """Different images that a study's runs learn from, for the epochs (default: counted, where they are at hand)."""

    def __post_init__(self) -> None:
        check_bounds(self, bootstraps=(100, 10**6), seed=SEED, train_images=COUNT)


@dataclass(frozen=True)
class LawShow:
    """Print what a law says.

    examples:
      nextpatch law show laws/scaling
    """

    law: Annotated[Path, Flag("LAW", positional=True)]
    """A law.json, or the folder that it is in."""


def fit(args: LawFit) -> int:
    """Fit, write, print."""
    from nextpatch.law.run import PAGE, fit_runs, write_all
    from nextpatch.law.words import law_text

    law = fit_runs(
        args.source, counted=args.counted, bootstraps=args.bootstraps, seed=args.seed,
        hold_out_largest=args.hold_out_largest, train_images=args.train_images,
    )  # fmt: skip
    path = write_all(law, args.out)
    print(law_text(law))
    print(shown(path))
    print(shown(args.out / PAGE))
    return 0


def show(args: LawShow) -> int:
    """Print it."""
    from nextpatch.law.words import law_text
    from nextpatch.scaling.law_file import read_law

    print(law_text(read_law(args.law)))
    return 0


VERBS = {
    "fit": Verb(
        "fit a law to the runs of a study, or of a CSV file", LawFit, fit, lambda args: [Output(args.out)],
        needs=("law.run",),
    ),
    "show": Verb("print what a law says", LawShow, show),
}  # fmt: skip
