"""From the ends of runs to a law: the fit, its intervals, the frontier, and what a reader must be warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from nextpatch.core.errors import ConfigError
from nextpatch.scaling.bootstrap import clusters_of, counts_of
from nextpatch.scaling.downstream import downstream_of
from nextpatch.scaling.fit import LEAST, MOST, PowerFit, fit_powers
from nextpatch.scaling.law import DirectFrontier, Estimate, FrontierLaw, HeldOutBudget, Law, LeftOut, interval
from nextpatch.scaling.parabola import parabolas, share_of
from nextpatch.scaling.run_end import MANY_EPOCHS, Counted, RunEnd, largest_budget
from nextpatch.scaling.surface import Frontier, Surface, fit_cost, frontier

_SIZES, _LENGTHS, _CONFIGURATIONS = 3, 3, 6  # fewer do not settle five values
_FRONT = 5  # configurations that a fit to the frontier alone needs, for three values


def fit_law(
    ends: Sequence[RunEnd], *, source: str, about: str = "", counted: Counted = "trunk", bootstraps: int = 1000,
    seed: int = 0, hold_out_largest: bool = False, left_out: Sequence[LeftOut] = (),
) -> Law:  # fmt: skip
    """The law of the runs with `bootstraps` draws of configurations.

    With `hold_out_largest` a fit without the largest budget predicts its loss; the law itself is of all runs.
    ConfigError, with what is missing, for runs that no law can be fitted to.
    """
    ends = tuple(ends)
    check_enough(ends, counted)
    if bootstraps < 100:
        raise ConfigError(f"bootstraps {bootstraps} must be at least 100, or 90 % intervals are chance")
    law = _fitted(ends, source, about, counted, bootstraps, seed, tuple(left_out))
    law = replace(law, warnings=warnings_of(law))
    return replace(law, held_out=_held_out(law)) if hold_out_largest else law


def check_enough(ends: tuple[RunEnd, ...], counted: Counted) -> None:
    """ConfigError for too few sizes, lengths or configurations, or patches of several sizes."""
    sizes, lengths = {end.params(counted) for end in ends}, {end.patches for end in ends}
    configurations = {end.configuration for end in ends}
    if len(sizes) < _SIZES or len(lengths) < _LENGTHS or len(configurations) < _CONFIGURATIONS:
        raise ConfigError(
            f"{_count(len(ends), 'complete run')} of {_count(len(sizes), 'size')} and {_count(len(lengths), 'length')} "
            f"({_count(len(configurations), 'configuration')}) settle no law: its five values need at least {_SIZES} "
            f"sizes, {_LENGTHS} lengths and {_CONFIGURATIONS} configurations; train more: nextpatch study scaling"
        )
    if len({end.patches_per_image for end in ends}) > 1:
        raise ConfigError("the runs divide images into different numbers of patches: their losses are not comparable")


def _fitted(
    ends: tuple[RunEnd, ...], source: str, about: str, counted: Counted, bootstraps: int, seed: int,
    left_out: tuple[LeftOut, ...],
) -> Law:  # fmt: skip
    params, patches, loss, spent = _columns(ends, counted)
    counts = counts_of(clusters_of(ends), bootstraps + 1, seed)
    found = fit_powers(np.stack([params, patches], axis=1), loss, counts)
    surface = _surface(found)
    cost = fit_cost(params, patches, spent)
    residuals = np.abs(Surface(*(values[:1] for values in surface)).loss(params, patches) / loss - 1)
    groups = parabolas(ends, counted)
    return Law(
        source=source, about=about, counted=counted, patches_per_image=ends[0].patches_per_image,
        floor=_estimate(surface.floor), params_factor=_estimate(surface.params_factor), alpha=_estimate(surface.alpha),
        patches_factor=_estimate(surface.patches_factor), beta=_estimate(surface.beta),
        cost=cost, frontier=_frontier(frontier(surface, cost)), direct=_direct(ends, bootstraps, seed),
        parabolas=groups, parabola_share=share_of(groups), downstream=downstream_of(ends, bootstraps + 1, seed),
        residual=float(np.median(residuals)), bootstraps=bootstraps,
        unsettled=int(np.sum(~found.settled)), seed=seed, runs=ends, left_out=left_out,
        draws=tuple((e, a, alpha, b, beta) for e, a, alpha, b, beta in np.stack(surface, 1)[1:].tolist()),
    )  # fmt: skip


def _columns(ends: tuple[RunEnd, ...], counted: Counted) -> list[Float[np.ndarray, " n"]]:
    rows = [(end.params(counted), end.patches, end.loss, end.spent) for end in ends]
    return list(np.array(rows, float).T)


def _surface(found: PowerFit) -> Surface:
    return Surface(found.floor, found.factors[:, 0], found.exponents[:, 0], found.factors[:, 1], found.exponents[:, 1])


def _estimate(values: Float[np.ndarray, " draws"]) -> Estimate:
    found = interval(values[:1], values[1:])
    assert found is not None
    return found


def _frontier(found: Frontier) -> FrontierLaw | None:
    """None where one draw of ten has no optimum."""
    names = ("flops_factor", "gamma", "params_share", "patches_share")
    values = {name: interval(getattr(found, name)[:1], getattr(found, name)[1:]) for name in names}
    known = {name: value for name, value in values.items() if value is not None}
    return FrontierLaw(**known) if len(known) == len(names) else None


def front(ends: Sequence[RunEnd]) -> tuple[RunEnd, ...]:
    """All seeds of the configurations that no cheaper one, by its mean loss, is as good as."""
    groups: dict[tuple[int, int, float], list[RunEnd]] = {}
    for end in ends:
        groups.setdefault(end.configuration, []).append(end)
    found: list[RunEnd] = []
    least = np.inf
    for group in sorted(groups.values(), key=lambda group: group[0].spent):
        mean = float(np.mean([end.loss for end in group]))
        if mean < least:
            found, least = [*found, *group], mean
    return tuple(found)


def _direct(ends: tuple[RunEnd, ...], bootstraps: int, seed: int) -> DirectFrontier | None:
    """The law of the frontier's runs alone; None of fewer than five configurations."""
    best = front(ends)
    clusters = clusters_of(best)
    number = len({*clusters})
    if number < _FRONT:
        return None
    spent, loss = np.array([[end.spent] for end in best]), np.array([end.loss for end in best])
    found = fit_powers(spent, loss, counts_of(clusters, bootstraps + 1, seed))
    return DirectFrontier(
        configurations=number, floor=_estimate(found.floor), flops_factor=_estimate(found.factors[:, 0]),
        gamma=_estimate(found.exponents[:, 0]),
    )  # fmt: skip


def _held_out(law: Law) -> HeldOutBudget:
    """The prediction of the largest budget by a fit without it."""
    largest = largest_budget(law.runs)
    rest = tuple(end for end in law.runs if end not in largest)
    check_enough(rest, law.counted)
    params, patches, loss, _ = _columns(rest, law.counted)
    found = fit_powers(
        np.stack([params, patches], axis=1), loss, counts_of(clusters_of(rest), law.bootstraps + 1, law.seed)
    )
    measured = float(np.mean([end.loss for end in largest]))
    predicted = _estimate(_surface(found).loss(largest[0].params(law.counted), largest[0].patches))
    return HeldOutBudget(
        name=largest[0].name, flops=largest[0].spent, measured=measured, predicted=predicted,
        error=predicted.value / measured - 1,
    )  # fmt: skip


def warnings_of(law: Law) -> tuple[str, ...]:
    """What a reader must know before using the law."""
    epochs = [end.epochs for end in law.runs if end.epochs is not None]
    many = [value for value in epochs if value > MANY_EPOCHS]
    found = []
    if many:
        found.append(
            f"{len(many)} of {len(law.runs)} runs see their images more than {MANY_EPOCHS:.0f} times (up to "
            f"{max(many):.1f}): repeated images are worth less than new ones, which bends the law"
        )
    if not epochs:
        found.append("how often each image was seen is not known; beyond about 4 times the law bends")
    for name, exponent in (("alpha (of parameters)", law.alpha), ("beta (of patches)", law.beta)):
        if not exponent.positive:
            found.append(f"{name} is not established: its interval includes 0")
        elif exponent.value >= MOST or exponent.value <= LEAST:
            found.append(f"{name} is not settled: the fit ran to the bound of {exponent.value:g}")
    if law.unsettled:
        found.append(f"{law.unsettled} of {law.bootstraps} bootstraps did not come to an optimum")
    return tuple(found)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
