"""What a study has come to: every variant with every seed, and what each claim's comparison establishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, Literal

from nextpatch.config import from_dict, to_dict
from nextpatch.measure.probe_result import Interval, LayerScore, ProbeScore
from nextpatch.measure.run_summary import ValEntry
from nextpatch.measure.table import Table

VAL_LOSS, FINETUNE = "val_loss", "finetune"  # metrics beside the kinds of probes
Status = Literal["done", "running", "failed", "missing"]
Verdict = Literal["holds", "reversed", "not established", "not measured"]


@dataclass(frozen=True)
class CheckpointScore:
    """What a probe gave at a checkpoint of `step`."""

    step: int
    scores: tuple[ProbeScore, ...]


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One variant with one seed: its run, how far it is, and its figures.

    `run` is the folder among the study's runs, which other variants may share. `figures`: by metric, losses as they
    are, accuracies in percent of the test images for the most labels; `intervals`: of accuracies, for the chance that
    is in the test images alone. `val`: step and loss of every validation; `last_val`: all that the last one measured.
    `scores` and `sweep` are the probe's, `curve` those of earlier checkpoints.
    """

    seed: int
    status: Status = "missing"
    reason: str = ""
    run: str = ""
    step: int = 0
    images: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    val: tuple[tuple[int, float], ...] = ()
    last_val: ValEntry | None = None
    scores: tuple[ProbeScore, ...] = ()
    sweep: tuple[LayerScore, ...] = ()
    curve: tuple[CheckpointScore, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """One row: what it is (`values` over the base, how it is measured), its size and cost, the paper's figures, its
    runs in the order of the study's seeds.

    `params_*` are learned values; `flops_per_image` are of a training step, `flops` of a whole run (a multiply-add is
    two). `steps` and `images` are planned ones. `grid` is (patches per column, patches per row), `order` that of the
    sequence; (0, 0) and "" of a result that does not say them.
    """

    name: str
    about: str
    values: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    probe: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    paper: dict[str, float] = field(default_factory=dict)
    params_trunk: int = 0
    params_head: int = 0
    params: int = 0
    flops_per_image: float = 0.0
    flops: float = 0.0
    steps: int = 0
    images: int = 0
    grid: tuple[int, int] = (0, 0)
    order: str = ""
    runs: tuple[SeedRun, ...] = ()

    def of(self, metric: str) -> dict[int, float]:
        """The figures of a metric by seed, as far as they are there."""
        return {run.seed: run.figures[metric] for run in self.runs if metric in run.figures}


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """One claim by one metric. Of every seed how much better it came out than the opposite: positive is as claimed.

    Of a pair a difference is the better variant's figure minus the other's, for losses the other way round; of a trend
    it is the slope of the least-squares line through the figures over 0, 1, 2, ..., per variant. `low` and `high` are
    the 95 % t-interval of their mean over seeds. `paper` is the same of the paper's figures. `missing`: seeds that are
    not measured (yet); `because` says why a verdict is what it is.
    """

    says: str
    where: str = ""
    kind: Literal["pair", "trend"]
    variants: tuple[str, ...]
    by: str
    than_by: str = ""
    seeds: tuple[int, ...] = ()
    differences: tuple[float, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    verdict: Verdict
    because: str = ""
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult:
    """All that a study has measured so far; study.json has the same fields.

    It holds no time and no place outside of the study: the same study gives the same file, however often it was
    stopped. `study_sha256` is of what decides the figures.
    """

    title: str
    asks: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    equal: str = ""
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    drawings: tuple[str, ...] = ()
    study_sha256: str = ""
    variants: tuple[VariantResult, ...]
    claims: tuple[ClaimResult, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "a study") -> StudyResult:
        """Of plain values, as `to_dict` gives them; further keys are passed over, ConfigError for a wrong type."""
        return from_dict(cls, values, where, extra_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    @property
    def complete(self) -> bool:
        """Whether every run of every variant is done."""
        return all(run.status == "done" for variant in self.variants for run in variant.runs)

    def table(self) -> Table:
        """A row per variant: mean and deviation over seeds of every metric, the paper's figure behind it."""
        columns = ["variant", "parameters", "GFLOPs/image", *self.metrics, "runs"]
        note = "mean over seeds ± standard deviation; in brackets the paper's; a comparison is a claim, not a ranking"
        return Table(self.title, columns, [self._row(variant) for variant in self.variants], note)

    def claims_table(self) -> Table:
        """A row per claim and metric, with its verdict."""
        columns = ["claim", "by", "difference", "95 % interval", "paper", "verdict"]
        rows = [
            [claim.says, claim.by, signed(claim.mean, claim.by), interval_text(claim), signed(claim.paper, claim.by),
             verdict_text(claim)]
            for claim in self.claims
        ]  # fmt: skip
        return Table("Claims, paired by seed; positive: as claimed", columns, rows)

    def _row(self, variant: VariantResult) -> list[str]:
        done = sum(run.status == "done" for run in variant.runs)
        cells = [_spread(list(variant.of(name).values()), name, variant.paper.get(name)) for name in self.metrics]
        size = [f"{variant.params:,}", f"{variant.flops_per_image / 1e9:.3g}"]
        return [variant.about or variant.name, *size, *cells, f"{done}/{len(variant.runs)}"]

    def __repr__(self) -> str:
        """Both tables as text."""
        tables = [self.table(), *([self.claims_table()] if self.claims else [])]
        return "\n\n".join(map(str, tables))

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() + (self.claims_table()._repr_html_() if self.claims else "")


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a loss."""
    return metric == VAL_LOSS


def digits(metric: str) -> int:
    """How many digits after the point a metric is shown with: losses four, accuracies one."""
    return 4 if lower_is_better(metric) else 1


def signed(value: float | None, metric: str) -> str:
    """A difference in a metric, as text."""
    return "-" if value is None else f"{value:+.{digits(metric)}f}"


def interval_text(claim: ClaimResult) -> str:
    """The interval of a claim, as text."""
    if claim.low is None or claim.high is None:
        return "-"
    return f"{signed(claim.low, claim.by)} to {signed(claim.high, claim.by)}"


def verdict_text(claim: ClaimResult) -> str:
    """The verdict, with why, and what is missing of it."""
    missing = f"{len(claim.missing)} of {len(claim.missing) + len(claim.seeds)} seeds missing" if claim.missing else ""
    said = "not established at this scale" if claim.verdict == "not established" else claim.verdict
    more = "; ".join(filter(None, (claim.because, missing if claim.seeds else "")))
    return f"{said} ({more})" if more else said


def _spread(values: Sequence[float], metric: str, paper: float | None) -> str:
    places = digits(metric)
    if not values:
        text = "-"
    elif len(values) == 1:
        text = f"{values[0]:.{places}f}"
    else:
        text = f"{mean(values):.{places}f} ± {stdev(values):.{places}f}"
    return text if paper is None else f"{text} [{paper:.{places}f}]"
