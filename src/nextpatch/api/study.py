"""`nextpatch.run_study`: variants of a recipe, trained and measured alike, and what their comparison establishes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextpatch.api.given_values import out_path, plain
from nextpatch.api.session import leave, session
from nextpatch.measure.study_result import StudyResult
from nextpatch.study.reading import read_study, study_from_dict, study_path
from nextpatch.study.run import run_study as run_to_end


def run_study(
    study: str | os.PathLike[str] | Mapping[str, Any] | None,
    out: str | Path,
    *,
    jobs: int = 0,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
    runs: str | Path | None = None,
    ray: bool = False,
    quiet: bool = False,
) -> StudyResult:
    """Run what is left of a study in the folder `out`, as `nextpatch study` does, and return what it has come to.

    `study`: a study file, the name of a shipped one, the same keys as a dictionary, or None for the one that was begun
    at `out`. `jobs` runs at a time (0: as the machine suggests); `seeds` and `only`, names of variants, do a part;
    `runs` is the folder of the run directories, which studies may share; `ray` runs them on Ray. Each run is an
    ordinary run directory, trained by a process of its own. A run that fails has the status "failed" in the result, and
    is tried again by the next call. Ctrl-C, or a notebook's stop, lets every run save, and raises KeyboardInterrupt;
    the same call goes on.

    Returns a StudyResult: `.variants`, `.claims` with their verdicts; printed, it is two tables. Raises ConfigError or
    DataError before the first run starts for a study that cannot be run, or is not the one that was begun at `out`.

    >>> import nextpatch
    >>> recipe = {"model": {"size": "nano"}, "data": {"train": ["demo:test"], "val_images": 16},
    ...           "train": {"steps": 2, "global_batch_size": 8}}
    >>> variants = {"raster": {}, "random": {"model": {"order": "random"}}}
    >>> study = {"title": "Order", "seeds": [0], "recipe": recipe, "variants": variants}
    >>> found = nextpatch.run_study(study, tmp / "study", only=["raster"], quiet=True)
    >>> [(variant.name, variant.runs[0].status) for variant in found.variants]
    [('raster', 'done'), ('random', 'missing')]
    """
    place = out_path(out)
    if isinstance(study, Mapping):
        found = study_from_dict(dict(study), Path("study"))
    else:
        found = read_study(study_path(os.fspath(place if study is None else study)))
    given = None if runs is None else out_path(runs)
    with session(quiet) as console:
        done = run_to_end(
            found, place, runs=given, jobs=plain(jobs), seeds=plain(list(seeds)), only=list(only), ray=ray,
            console=console,
        )  # fmt: skip
    if done.signal is not None:
        leave(done.signal, f"stopped and saved; continue with nextpatch.run_study(..., '{out}')")
    return done.result
