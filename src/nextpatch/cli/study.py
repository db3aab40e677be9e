"""`nextpatch study`: variants of a recipe, trained and measured alike, and what their comparison establishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag

if TYPE_CHECKING:
    from nextpatch.study.run import Studied


@dataclass(frozen=True)
class Study:
    """Compare variants of a recipe over several seeds, and say of every claim whether it holds.

    A study is a TOML file; docs/studies.md has its format. It can be stopped and killed at any time: the same command
    goes on. Each run is an ordinary run directory.

    examples:
      nextpatch study mine.toml --out studies/mine
      nextpatch study mine.toml --out studies/mine --seeds 0 --only raster spiral
      nextpatch study --show studies/mine
    """

    study: Annotated[str, Flag("STUDY", positional=True)] = ""
    """A study file, or the name of a shipped study (default: the one that was begun at --out)."""
    out: Annotated[Path | None, Flag("DIR")] = None
    """Folder of the study: a new one, or one to go on with."""
    show: Annotated[Path | None, Flag("DIR")] = None
    """Print what the study in this folder has come to, also while it runs, and do nothing else."""
    jobs: int = 0
    """Runs at a time (default: one for each CUDA device, or for every two processors)."""
    seeds: tuple[int, ...] = ()
    """Do only these seeds of the study."""
    only: tuple[Annotated[str, Flag("VARIANT")], ...] = ()
    """Do only these variants."""
    runs: Annotated[Path | None, Flag("DIR")] = None
    """Folder of the run directories, which several studies may share (default: in --out)."""
    ray: bool = False
    """Run them on the Ray cluster of $RAY_ADDRESS, or on Ray begun on this machine."""

    def __post_init__(self) -> None:
        check_bounds(self, jobs=(0, 4096))


def run(args: Study) -> int:
    """Run it, or show it; the exit code is 1 where runs failed, 128 + the signal where one stopped it."""
    from rich.console import Console

    from nextpatch.study.reading import read_study, study_path
    from nextpatch.study.run import run_study, show_study

    if args.show is not None:
        return _told(show_study(args.show))
    if args.out is None:
        raise ConfigError("name the folder of the study: --out DIR, or --show DIR to look at one")
    study = read_study(study_path(args.study or str(args.out)))
    done = run_study(
        study, args.out, runs=args.runs, jobs=args.jobs, seeds=args.seeds, only=args.only, ray=args.ray,
        console=Console(),
    )  # fmt: skip
    code = _told(done)
    if done.signal is not None:
        print(f"stopped; finished runs are kept, go on with: nextpatch study --out {args.out}")
        return 128 + done.signal
    return code


def _told(done: Studied) -> int:
    from rich.console import Console

    console = Console()
    console.print(done.result.table())
    if done.result.claims:
        console.print(done.result.claims_table())
    for name in done.failures:
        console.print(f"failed: {name}", markup=False, highlight=False, soft_wrap=True)
    if done.page is not None:
        print(done.page)
    return 1 if done.failures else 0
