"""What a probe measured: the accuracy of every classifier, which layers and values were chosen, and on which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from nextpatch.config import from_dict, to_dict
from nextpatch.measure.table import Table, data_frame

PRETRAINED, RANDOM, PIXELS = "pre-trained", "random init", "raw pixels"  # the kinds of features
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """The best classifier of one kind, for one number of labels, on one kind of features. Accuracies are percent.

    `select_top1`: on the images that it was chosen by; `test_ci95`: Wilson's interval of `test_top1`.
    """

    labels: int
    features: str
    probe: str
    layers: tuple[str, ...] = ()
    lr: float | None = None
    k: int | None = None
    select_top1: float | None = None
    test_top1: float
    test_ci95: Interval
    test_top5: float | None = None
    test_macro_f1: float | None = None
    test_bootstrap95: dict[str, Interval] = field(default_factory=dict)
    test_per_class: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _need_finite(self.test_top1, *self.test_ci95, self.select_top1)


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """How well one set of blocks ("block_3", "block_0-5") serves a kind of classifier: percent of the images to choose
    by, at the best learning rate `lr`."""

    labels: int
    features: str = PRETRAINED
    probe: str
    layers: str
    lr: float | None = None
    select_top1: float

    def __post_init__(self) -> None:
        _need_finite(self.select_top1)


@dataclass(frozen=True)
class SearchGrid:
    """What was tried: learning rates, and sets of blocks by their names."""

    lrs: tuple[float, ...] = ()
    layer_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedProbe:
    """Which classifier probe.safetensors holds."""

    labels: int = 0
    layers: tuple[str, ...] = ()
    select_top1: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeResult:
    """All that one probe measured; probe.json has the same fields.

    `num_select` images were held out to choose by, of `num_train_pool` the classifiers learned; `elapsed_s` is of the
    whole probe; `view` says in words how images were seen, `feature_attention` by which attention the trunk computed
    the features, `pooling` of what the one vector was made that linear, knn and logistic probes take: the mean of all
    patches, or the means of so many regions. `attention`: the classifier that was kept, if any.
    """

    weights: str = ""
    data: str = ""
    test: str = ""
    classes: tuple[str, ...] = ()
    num_test: int = 0
    num_test_in_training: int = 0
    overlap: str = "refuse"
    num_select: int = 0
    num_train_pool: int = 0
    select_on: str = "held-out"
    augment: str = "none"
    seed: int = 0
    elapsed_s: float | None = None
    checkpoint_step: int | None = None
    view: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    grid: SearchGrid = field(default_factory=SearchGrid)
    results: tuple[ProbeScore, ...]
    sweep: tuple[LayerScore, ...] = ()
    attention: SavedProbe | None = None
    feature_attention: str = "bidirectional"
    pooling: str = "mean"

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "a probe") -> ProbeResult:
        """Of plain values, as `to_dict` gives them; further keys are passed over, ConfigError for a wrong type."""
        return from_dict(cls, {**values, "attention": values.get("attention") or None}, where, extra_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    @property
    def most_labels(self) -> int:
        """The largest number of labels that was learned from; 0 of no results."""
        return max((row.labels for row in self.results), default=0)

    def table(self) -> Table:
        """Test accuracy by number of labels and kind of classifier, the kinds of features side by side."""
        features = list(dict.fromkeys(row.features for row in self.results))
        title = f"Test accuracy in %, {self.num_test:,} images, {len(self.classes)} classes (95 % interval)"
        if self.select_on == "paper":
            title += "\nchosen on these same images, as in the paper: too high"
        if self.feature_attention != "bidirectional":
            title += f"\n{self.feature_attention} attention"
        if self.pooling != "mean":
            title += f"\nlinear and nearest neighbors: on the means of {self.pooling}"
        cells = {(row.labels, row.probe, row.features): _cell(row) for row in self.results}
        order = list(dict.fromkeys(row.probe for row in self.results))
        lines = sorted({key[:2] for key in cells}, key=lambda line: (line[0], order.index(line[1])))
        rows = [[f"{n:,}", probe, *(cells.get((n, probe, kind), "-") for kind in features)] for n, probe in lines]
        return Table(title, ["labels", "probe", *features], rows, f"images {self.view}" if self.view else "")

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """`results` as a pandas.DataFrame, one row per classifier; UserError when pandas is not installed."""
        return data_frame([asdict(row) for row in self.results])


@dataclass(frozen=True, kw_only=True)
class SeedScore:
    """One kind of classifier measured with several seeds: `test_top1` of each, their mean and deviation, in percent."""

    labels: int
    features: str
    probe: str
    test_top1: tuple[float, ...]
    mean: float
    std: float | None


def seeds_table(rows: Sequence[SeedScore], seeds: int) -> Table:
    """Mean and standard deviation of every row."""
    cells = [[f"{r.labels:,}", r.features, r.probe, f"{r.mean:.1f} ({r.std:.1f})"] for r in rows if r.std is not None]
    title = f"Test accuracy in %, mean of {seeds} seeds (standard deviation)"
    return Table(title, ["labels", "features", "probe", "top-1"], cells)


def _cell(row: ProbeScore) -> str:
    low, high = row.test_ci95
    return f"{row.test_top1:.1f} ({low:.1f}–{high:.1f})"


def _need_finite(*values: float | None) -> None:
    if not all(value is None or isfinite(value) for value in values):
        raise ValueError("holds a number that is not finite")
