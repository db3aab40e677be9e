"""`nextpatch.probe`: measures frozen features with labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nextpatch.api.config import config_of
from nextpatch.api.given_values import out_path
from nextpatch.api.images import Images, named
from nextpatch.api.pages import try_page
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, name_of
from nextpatch.dist.ranks import Ranks
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.runs.run import RunDir
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import output_of
from nextpatch.tasks.probe.run import probe as probe_weights
from nextpatch.tasks.report.build import write_report
from nextpatch.tasks.report.probe_page import write_probe_page
from nextpatch.weights.backbone import Backbone


def probe(
    weights: Weights,
    data: Images,
    *,
    test: Images | None = None,
    out: str | Path | None = None,
    labels: int | Sequence[int] = (),
    layers: str | Sequence[str] = (),
    report: bool = True,
    quiet: bool = False,
    **values: Any,
) -> ProbeResult:
    """Measure frozen features with labels, and compare with raw pixels and, for a run, with the untrained network.

    `weights`: a name as `nextpatch.load` takes it, a model that is loaded, or a result of `pretrain`. `data`: labeled
    images as `nextpatch.dataset` takes them, or a name as on the command line; `test`: others to score on, once, of the
    same classes (left out: a fifth of `data`, set aside). `labels`: how many labels to learn from. `layers`: which
    blocks to read, as "3", "2,3" (their mean), "0-3", "each" or "windows". `values`: whatever else ProbeConfig holds:
    probes=["linear", "knn"], epochs=5, lrs=[1e-3], attention="causal", seed=1, device="cpu". `out`: a folder for the
    results; left out, the results of a run are written into the run, with its `report`, and others are only returned.

    Returns accuracies in percent with their intervals: `.results`, and `.sweep` by layers, on the images to choose by;
    `.to_pandas()` has a row for each of the results. Raises DataError where labels are missing or test images are
    learned from, UserError, ConfigError or WeightsError for what cannot be used, KeyboardInterrupt on Ctrl-C.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (40, 28, 28), np.uint8)
    >>> pixels[1::2, :, :14] = 0  # every second one is dark on the left
    >>> found = nextpatch.probe(nano_run, (pixels, [0, 1] * 20), probes=["knn"], neighbors=1, quiet=True)
    >>> [(score.features, score.labels) for score in found.results if score.probe == "knn"]
    [('pre-trained', 26), ('random init', 26), ('raw pixels', 26)]
    """
    given, tested = named(data, labels=True), None if test is None else named(test, labels=True)
    with session(quiet) as console, ExitStack() as held, Ranks.opened() as ranks:
        config = config_of(
            ProbeConfig, probe, weights=name_of(weights), data=given.one("data"), test=tested and tested.one("test"),
            out=None if out is None else out_path(out),
            labels=labels, layers=layers, **values,
        )  # fmt: skip
        of_run = not isinstance(weights, Backbone) and RunDir.exists(Path(config.weights))
        nowhere = config.out is None and not of_run
        if nowhere:
            config = replace(config, out=Path(held.enter_context(TemporaryDirectory(prefix="nextpatch-probe-"))))
        place = output_of(config)
        into_run = RunDir.exists(place)
        held.enter_context(ranks.only_writer(place / "probe.json" if into_run else place, "probe", file=into_run))
        model = copy.deepcopy(weights) if isinstance(weights, Backbone) else None  # it is converted where it computes
        found = probe_weights(config, console, ranks, model)
        if report and ranks.is_main and not nowhere:
            try_page(lambda place: write_report(place).page if into_run else write_probe_page(place), place)
        return found
