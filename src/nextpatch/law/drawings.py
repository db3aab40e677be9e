"""Charts of a law: Figures 1, 5 and 6 of the paper for one's own runs, and what the fit leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from statistics import mean

import numpy as np

from nextpatch.scaling.law import Law
from nextpatch.scaling.run_end import RunEnd
from nextpatch.scaling.surface import frontier
from nextpatch.tasks.report.axes import axis, number
from nextpatch.tasks.report.charts import Chart, Series, line_chart
from nextpatch.tasks.report.svg import LEFT, RIGHT

_TONES, _FIT = 5, 6  # tones of the runs, and that of the law
_POINTS = 40
_OPERATIONS = "operations of the training, 10^{power} FLOP (log scale)"


@dataclass(frozen=True)
class LawDrawing:
    """A chart by the name of its file, with what it shows in words."""

    name: str
    chart: Chart
    shows: str


def law_drawings(law: Law) -> list[LawDrawing]:
    """All charts for which there are figures."""
    found = [_over_flops(law), _over_patches(law), _downstream(law), _residuals(law)]
    return [drawing for drawing in found if drawing]


def _over_flops(law: Law) -> LawDrawing:
    """Figure 6: a line per length, and the frontier where there is one."""
    lengths, power = sorted({run.images for run in law.runs}), _power(law)
    lines = []
    for tone, length in enumerate(lengths):
        points = _means([run for run in law.runs if run.images == length], lambda run: run.spent / 10**power)
        lines.append(_line(f"{number(length)} images", points, tone))
    if law.frontier:
        spent = [run.spent for run in law.runs]
        flops = np.geomspace(min(spent), max(spent), _POINTS)
        many, one = frontier(law.surfaces, law.cost), frontier(law.point, law.cost)
        band, best = [], []
        for value in flops:
            losses = law.surfaces.floor + many.flops_factor * value**-many.gamma
            low, high = np.nanpercentile(losses, [5, 95])
            band.append((float(low), float(high)))
            best.append(float((law.point.floor + one.flops_factor * value**-one.gamma)[0]))
        lines.append(Series("frontier of the law", [float(v) / 10**power for v in flops], best, _FIT, band=band))
    chart = line_chart("Loss over operations", _OPERATIONS.format(power=power), "validation loss", lines, log_x=True)
    return LawDrawing(
        "loss-over-operations", chart,
        "A point per size, the mean of its seeds. The frontier is the least loss that the law gives for a budget, "
        "with its 90 % interval. The paper's Figure 6.",
    )  # fmt: skip


def _over_patches(law: Law) -> LawDrawing:
    """Figure 5: the loss over data, a line per size, and the law's own of the smallest and the largest."""
    sizes = sorted({run.params(law.counted) for run in law.runs})
    lines = []
    for tone, size in enumerate(sizes):
        points = _means([run for run in law.runs if run.params(law.counted) == size], lambda run: run.patches)
        lines.append(_line(f"{number(size)} parameters", points, tone))
    seen = [run.patches for run in law.runs]
    patches = np.geomspace(min(seen), max(seen), _POINTS)
    for size in (sizes[0], sizes[-1]):
        found = [law.loss_at(size, float(value)) for value in patches]
        lines.append(
            Series(f"law, {number(size)}", [float(v) for v in patches], [one.value for one in found], _FIT, thin=True,
                   band=[(one.low, one.high) for one in found])
        )  # fmt: skip
    chart = line_chart("Loss over data", "patches seen (log scale)", "validation loss", lines, log_x=True)
    return LawDrawing(
        "loss-over-data", chart,
        "Each point is of runs of their own, at the end of their schedules. Where images are repeated too often, lines "
        "bend upwards, as in the paper's Figure 5.",
    )  # fmt: skip


def _downstream(law: Law) -> LawDrawing | None:
    """Figure 1: error of the probe against the loss."""
    if law.downstream is None:
        return None
    sizes = sorted({run.params(law.counted) for run in law.runs})
    lines = []
    for tone, size in enumerate(sizes):
        groups = _configurations([run for run in law.runs if run.params(law.counted) == size and run.error is not None])
        points = sorted((mean(run.loss for run in group), mean(run.error or 0.0 for run in group)) for group in groups)
        lines.append(_line(f"{number(size)} parameters", points, tone))
    losses = [run.loss for run in law.runs if run.error is not None]
    ends = [min(losses), max(losses)]
    down = law.downstream
    lines.append(Series("least-squares line", ends, [down.offset.value + down.slope.value * x for x in ends], _FIT))
    shown = [line for line in lines if len(line.x)]
    ticks = axis([x for line in shown for x in line.x], LEFT, RIGHT).ticks()
    chart = line_chart(
        "Loss against the probe", "validation loss", "error of the probe, %", shown, x_ticks=ticks,
        x_names=[number(tick) for tick in ticks],
    )  # fmt: skip
    return LawDrawing(
        "loss-against-probe", chart, "A point per configuration, the mean of its seeds. The paper's Figure 1."
    )


def _residuals(law: Law) -> LawDrawing:
    """What the fit leaves, over operations."""
    sizes = sorted({run.params(law.counted) for run in law.runs})
    lines = []
    for tone, size in enumerate(sizes):
        groups = _configurations([run for run in law.runs if run.params(law.counted) == size])
        points = sorted(
            (
                group[0].spent / 10 ** _power(law),
                100 * (mean(run.loss for run in group) / _predicted(law, group[0]) - 1),
            )
            for group in groups
        )
        lines.append(_line(f"{number(size)} parameters", points, tone))
    chart = line_chart(
        "What the law leaves", _OPERATIONS.format(power=_power(law)), "measured above the law, %", lines,
        log_x=True, reference=("the law", 0.0),
    )  # fmt: skip
    return LawDrawing("residuals", chart, "Means over seeds. A trend here says that the runs follow another law.")


def _power(law: Law) -> int:
    """Of ten, in which operations are counted on an axis."""
    return 3 * floor(log10(min(run.spent for run in law.runs)) / 3)


def _predicted(law: Law, run: RunEnd) -> float:
    return float(law.point.loss(run.params(law.counted), run.patches)[0])


def _means(runs: Sequence[RunEnd], x: Callable[[RunEnd], float]) -> list[tuple[float, float]]:
    """(x, mean loss) of each configuration, by x."""
    return sorted((x(group[0]), mean(run.loss for run in group)) for group in _configurations(runs))


def _configurations(runs: Sequence[RunEnd]) -> list[list[RunEnd]]:
    groups: dict[tuple[int, int, float], list[RunEnd]] = {}
    for run in runs:
        groups.setdefault(run.configuration, []).append(run)
    return list(groups.values())


def _line(name: str, points: Sequence[tuple[float, float]], tone: int) -> Series:
    return Series(name, [x for x, _ in points], [y for _, y in points], tone % _TONES + 1, markers=True)
