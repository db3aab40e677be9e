"""A fitted law as a value: its figures with intervals, the runs behind it, what it predicts, how far it reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.scaling.run_end import Counted, RunEnd
from nextpatch.scaling.surface import Cost, Draws, Surface, frontier

CONFIDENCE = 0.9
FAR = 10.0  # times beyond the runs behind it up to which a law is asked
_UNKNOWN = 0.1  # share of draws without an optimum from which on none is established


@dataclass(frozen=True)
class Estimate:
    """A value with its 90 % interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds(self, value=(-1e300, 1e300), low=(-1e300, 1e300), high=(-1e300, 1e300))

    @property
    def positive(self) -> bool:
        """Whether the interval lies above 0: only then an exponent is established."""
        return self.low > 0

    def times(self, factor: float) -> Estimate:
        """In another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class LeftOut:
    """A run that is not in the fit, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class FrontierLaw:
    """On the compute-optimal frontier: loss = E + flops_factor * C^-gamma, N ~ C^params_share, D ~ C^patches_share."""

    flops_factor: Estimate
    gamma: Estimate
    params_share: Estimate
    patches_share: Estimate


@dataclass(frozen=True, kw_only=True)
class DirectFrontier:
    """The same law fitted to the frontier alone: configurations that no cheaper one is as good as."""

    configurations: int
    floor: Estimate
    flops_factor: Estimate
    gamma: Estimate


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """The best N of runs of about equal operations, by the parabola over log N; 0 where it has no bottom."""

    flops: float
    sizes: int
    params: float


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """Loss against the error of a probe: Spearman's rank correlation, and the line error = offset + slope * loss."""

    runs: int
    spearman: Estimate
    offset: Estimate
    slope: Estimate
    verdict: Literal["established", "not established"]


@dataclass(frozen=True, kw_only=True)
class HeldOutBudget:
    """What a fit without the largest budget predicts of it; `error` is relative to the mean loss that was measured."""

    name: str
    flops: float
    measured: float
    predicted: Estimate
    error: float


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """How a budget is spent best. `beyond` is how many times it is the largest, or the smallest, budget of the fit."""

    flops: float
    params: Estimate
    patches: Estimate
    images: Estimate
    loss: Estimate
    beyond: float

    @property
    def reached(self) -> bool:
        """Whether the law is worth asking there."""
        return self.beyond <= FAR


@dataclass(frozen=True, kw_only=True)
class Law:
    """loss = floor + params_factor * N^-alpha + patches_factor * D^-beta.

    N counts parameters of the trunk, or with the head (`counted`); D patches seen, `patches_per_image` of each image;
    C operations as `cost` says. `draws` are the same five values in this order of every bootstrap, which intervals of
    predictions are taken from. `runs` are those of the fit.
    """

    source: str
    about: str = ""
    counted: Counted
    patches_per_image: float
    floor: Estimate
    params_factor: Estimate
    alpha: Estimate
    patches_factor: Estimate
    beta: Estimate
    cost: Cost
    frontier: FrontierLaw | None = None
    direct: DirectFrontier | None = None
    parabolas: tuple[Parabola, ...] = ()
    parabola_share: float | None = None
    downstream: Downstream | None = None
    held_out: HeldOutBudget | None = None
    residual: float
    """Median of the absolute relative residuals."""
    bootstraps: int
    unsettled: int = 0
    """Bootstraps that did not come to an optimum."""
    seed: int = 0
    warnings: tuple[str, ...] = ()
    runs: tuple[RunEnd, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()
    draws: tuple[tuple[float, float, float, float, float], ...] = field(repr=False)

    def __post_init__(self) -> None:
        check_bounds(self, patches_per_image=(1e-9, 1e12), residual=(0, 1e9))
        if not self.runs or not self.draws:
            raise ConfigError("a law holds the runs and the draws that it was fitted by; this one has none")

    @property
    def point(self) -> Surface:
        """The fit itself, as one draw."""
        names = (self.floor, self.params_factor, self.alpha, self.patches_factor, self.beta)
        return Surface(*(np.array([one.value]) for one in names))

    @property
    def surfaces(self) -> Surface:
        """All draws."""
        return Surface(*np.array(self.draws, float).T)

    def loss_at(self, params: float, patches: float) -> Estimate:
        """The loss of a model of N `params` after D `patches`, at the end of its schedule."""
        found = interval(self.point.loss(params, patches), self.surfaces.loss(params, patches))
        assert found is not None
        return found

    def gain(self, before: tuple[float, float], after: tuple[float, float]) -> Estimate:
        """By how much of itself the loss falls from one (N, D) to another: 0.02 is 2 %."""
        found = interval(_gain(self.point, before, after), _gain(self.surfaces, before, after))
        assert found is not None
        return found

    def optimum(self, flops: float) -> Optimum | None:
        """The best N and D for a budget; None where the law establishes none."""
        check_flops(flops)
        many, one = frontier(self.surfaces, self.cost), frontier(self.point, self.cost)
        sizes = one.params(flops), many.params(flops)
        params = interval(*sizes)
        patches = interval(*(self.cost.patches(size, flops) for size in sizes))
        loss = interval(*(
            surface.loss(size, self.cost.patches(size, flops))
            for surface, size in zip((self.point, self.surfaces), sizes, strict=True)
        ))  # fmt: skip
        if params is None or patches is None or loss is None:
            return None
        return Optimum(
            flops=flops, params=params, patches=patches, images=patches.times(1 / self.patches_per_image), loss=loss,
            beyond=beyond(flops, [run.spent for run in self.runs]),
        )  # fmt: skip

    def beyond(self, params: float, patches: float) -> float:
        """How many times (N, D) lies outside of the runs of the fit, in whichever of both is farther; 1 within them."""
        sizes = [float(run.params(self.counted)) for run in self.runs]
        return max(beyond(params, sizes), beyond(patches, [run.patches for run in self.runs]))


def interval(point: Float[np.ndarray, 1], draws: Draws) -> Estimate | None:
    """The value with the middle 90 % of its draws; None where it, or one draw of ten, is not known."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(point[0]) or len(known) < (1 - _UNKNOWN) * len(draws):
        return None
    edge = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [edge, 100 - edge])
    return Estimate(float(point[0]), float(low), float(high))


def beyond(value: float, known: list[float]) -> float:
    """How many times a value is larger than the largest, or smaller than the smallest; 1 between them."""
    return max(1.0, value / max(known), min(known) / value)


def check_flops(flops: float) -> None:
    """ConfigError for a budget that is none."""
    if not 0 < flops < 1e40:
        raise ConfigError(f"flops {flops:g} must lie between 0 and 1e40: the operations of a whole training")


def _gain(surface: Surface, before: tuple[float, float], after: tuple[float, float]) -> Draws:
    found: Draws = 1 - surface.loss(*after) / surface.loss(*before)
    return found
