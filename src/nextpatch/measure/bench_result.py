"""What weights gave on benchmarks: top-1 of each, with how and on which images it was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from nextpatch.config import to_dict
from nextpatch.measure.table import Table, data_frame


@dataclass(frozen=True, kw_only=True)
class BenchmarkScore:
    """One benchmark; its result.json has the same fields. Accuracies are percent.

    `counts`: training images, test images, classes; `test_in_training`: test images that are training images too;
    `measured`: the recipe; `data`: fingerprints of the images, "train" and "test".
    """

    top1: float
    ci95: tuple[float, float]
    counts: tuple[int, int, int]
    layers: tuple[str, ...] = ()
    lr: float | None = None
    test_in_training: int = 0
    measured: dict[str, Any] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, repr=False)
class BenchResult:
    """The benchmarks that were measured, by name, and what must be said of them; bench.json has the same fields."""

    model: str
    results: dict[str, BenchmarkScore]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    def table(self) -> Table:
        """One row per benchmark; beside the paper's figures they stand in bench.md."""
        rows = [
            [name, f"{one.top1:.1f}", f"{one.ci95[0]:.1f}–{one.ci95[1]:.1f}", *(f"{count:,}" for count in one.counts)]
            for name, one in self.results.items()
        ]
        columns = ["benchmark", "top-1", "95 % interval", "training images", "test images", "classes"]
        return Table(f"Top-1 of {self.model} in %, attentive probe", columns, rows)

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """One row per benchmark, as a pandas.DataFrame; UserError when pandas is not installed."""
        return data_frame([{"benchmark": name, **asdict(one)} for name, one in self.results.items()])
