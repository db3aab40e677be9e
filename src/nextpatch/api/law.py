"""`nextpatch.fit_law` and `nextpatch.read_law`: scaling laws from Python."""

from __future__ import annotations

import os
from pathlib import Path

from nextpatch.api.given_values import out_path, plain
from nextpatch.law.run import fit_runs, write_all
from nextpatch.scaling.law import Law
from nextpatch.scaling.law_file import read_law as read_file
from nextpatch.scaling.run_end import Counted


def fit_law(
    source: str | os.PathLike[str], out: str | Path | None = None, *, counted: Counted = "trunk",
    bootstraps: int = 1000, seed: int = 0, hold_out_largest: bool = False, train_images: int = 0,
) -> Law:  # fmt: skip
    """Fit loss = E + A N^-alpha + B D^-beta to complete runs, as `nextpatch law fit` does.

    `source`: the folder of a study, or a CSV file (columns in docs/scaling.md). With `out`, law.json, law.txt, law.html
    and figures are written there. `counted`: whether N are parameters of the "trunk" or "all". Returns a Law:
    `.alpha`, `.beta`, `.floor` with intervals, `.optimum(flops)`, `.loss_at(params, patches)`. Raises UserError for a
    source that cannot be used, with file, line and remedy, or for too few runs.

    >>> import nextpatch
    >>> rows = [f"{n},{d},{0.3 + (n / 1e4) ** -0.5 + (d / 100) ** -0.4}" for n in (10**5, 10**6, 10**7)
    ...         for d in (10**4, 10**5, 10**6)]
    >>> _ = (tmp / "runs.csv").write_text("\\n".join(["params_trunk,images,loss", *rows]))
    >>> law = nextpatch.fit_law(tmp / "runs.csv", bootstraps=100)
    >>> f"{law.alpha.value:.3f} {law.beta.value:.3f} {law.floor.value:.3f}"
    '0.500 0.400 0.300'
    """
    law = fit_runs(
        Path(source), counted=counted, bootstraps=plain(bootstraps), seed=plain(seed),
        hold_out_largest=hold_out_largest, train_images=plain(train_images),
    )  # fmt: skip
    if out is not None:
        write_all(law, out_path(out))
    return law


def read_law(path: str | os.PathLike[str]) -> Law:
    """The law in a law.json, or in the folder that `nextpatch law fit` wrote. Raises LawError when there is none.

    >>> import nextpatch
    >>> rows = [f"{n},{d},{0.3 + (n / 1e4) ** -0.5 + (d / 100) ** -0.4}" for n in (10**5, 10**6, 10**7)
    ...         for d in (10**4, 10**5, 10**6)]
    >>> _ = (tmp / "runs.csv").write_text("\\n".join(["params_trunk,images,loss", *rows]))
    >>> law = nextpatch.fit_law(tmp / "runs.csv", tmp / "law", bootstraps=100)
    >>> nextpatch.read_law(tmp / "law").alpha == law.alpha
    True
    """
    return read_file(Path(path))
