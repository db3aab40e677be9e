"""What was measured of generated images: every figure with its numbers of images, and the floor beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nextpatch.config import to_dict
from nextpatch.measure.diversity import Closeness
from nextpatch.measure.kernel_distance import KernelDistance
from nextpatch.measure.precision_recall import PrecisionRecall
from nextpatch.measure.table import Table, data_frame


@dataclass(frozen=True, kw_only=True)
class SetDistance:
    """How far one set of images is from another, by their features. `images`, `others`: how many of each."""

    of: str
    against: str
    images: int
    others: int
    frechet: float
    kernel: KernelDistance
    precision_recall: PrecisionRecall

    def cells(self) -> list[str]:
        """A row of the table."""
        kernel, shares = self.kernel, self.precision_recall
        return [
            f"{self.images:,} {self.of}", f"{self.others:,} {self.against}", f"{self.frechet:.4g}",
            f"{kernel.value:.3g} ± {kernel.deviation:.2g}", f"{shares.precision:.3f}", f"{shares.recall:.3f}",
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PixelFigures:
    """Of one set of images, in pixels: values in [0, 1] at the size of the view. None: there is nothing to take it of.

    `diversity`: mean root of the mean squared difference of all pairs; `within_class`: of those of one class;
    `nearest`: to the training images; `copies`: images that are equal to a training image.
    """

    of: str
    images: int
    diversity: float | None
    within_class: float | None
    nearest: Closeness | None
    copies: int | None

    def cells(self) -> list[str]:
        """A row of the table."""
        near = self.nearest
        nearest = [near.smallest, near.one_percent, near.five_percent, near.median] if near else [None] * 4
        values = [self.diversity, self.within_class, *nearest]
        return [f"{self.images:,} {self.of}", *("-" if value is None else f"{value:.3f}" for value in values)]


@dataclass(frozen=True, kw_only=True, repr=False)
class SamplesResult:
    """All that was measured of samples; evaluation.json has the same fields.

    `distances`: the samples against real images, then the floor, real images against real ones. `view`: how images were
    seen. `recognized`: percent of the samples with a label that the classifier of the features takes for it, and
    `recognized_of` how many they are.
    """

    samples: str
    real: str
    train: str
    features: str
    features_sha256: str
    dim: int
    view: str
    distances: tuple[SetDistance, ...]
    pixels: tuple[PixelFigures, ...]
    recognized: float | None = None
    recognized_of: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    def tables(self) -> tuple[Table, Table]:
        """Distances of features, and figures in pixels."""
        digest = f" (SHA-256 {self.features_sha256[:12]})" if self.features_sha256 else ""
        distances = Table(
            f"Distances by {self.dim:,} features of {self.features}{digest}; the last row is the floor",
            ["of", "against", "Fréchet", "kernel (KID)", "precision", "recall"],
            [one.cells() for one in self.distances], f"images: {self.view}",
        )  # fmt: skip
        pixels = Table(
            "In pixels, 0 to 1: mean difference of pairs, and distance to the nearest training image",
            ["of", "all pairs", "within class", "smallest", "1 %", "5 %", "median"],
            [one.cells() for one in self.pixels],
            "\n".join([*self._recognized(), *self.notes]),
        )
        return distances, pixels

    def _recognized(self) -> list[str]:
        if self.recognized is None:
            return []
        return [f"recognized as their class: {self.recognized:.1f} % of {self.recognized_of:,} samples"]

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each distance; UserError when pandas is not installed."""
        return data_frame([asdict(one) for one in self.distances])

    def __repr__(self) -> str:
        """The tables as text."""
        return "\n\n".join(map(str, self.tables()))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())
