"""What a fine-tuning came to: accuracy on the test images, and what learned for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nextpatch.config import to_dict
from nextpatch.measure.table import Table


@dataclass(frozen=True, kw_only=True, repr=False)
class FinetuneSummary:
    """One fine-tuning; finetune.json has the same fields. Accuracies are percent.

    `learned_of_trunk` of the trunk's `trunk` values learned, from `labels` images in `steps` updates; `elapsed_s` is of
    all sessions. `test_ci95`: Wilson's interval of `test_top1`; `num_test_in_training`: test images that were learned
    from.
    """

    weights: str
    data: str
    test: str = ""
    full: bool = False
    rank: int = 0
    learned_of_trunk: int
    trunk: int
    classes: tuple[str, ...]
    seed: int
    labels: int
    num_test: int
    num_test_in_training: int = 0
    overlap: str = "refuse"
    steps: int
    elapsed_s: float
    test_top1: float
    test_ci95: tuple[float, float]
    test_top5: float
    test_macro_f1: float
    test_per_class: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    def table(self) -> Table:
        """Name and value of what was measured."""
        low, high = self.test_ci95
        rows = [
            ["test accuracy, %", f"{self.test_top1:.1f} ({low:.1f}–{high:.1f})"],
            ["top-5, %", f"{self.test_top5:.1f}"],
            ["macro F1, %", f"{self.test_macro_f1:.1f}"],
            ["test images", f"{self.num_test:,}"],
            ["labels", f"{self.labels:,}"],
            ["updates", f"{self.steps:,}"],
            ["values of the trunk that learned", f"{self.learned_of_trunk:,} of {self.trunk:,}"],
            ["seconds", f"{self.elapsed_s:,.1f}"],
        ]
        return Table(f"{self.weights} fine-tuned on {self.data}", ["measure", "value"], rows)

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
