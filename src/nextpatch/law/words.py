"""A law in plain words: what was fitted, how sure that is, what it says of budgets, and what it does not."""

from __future__ import annotations

from math import floor, log10

from nextpatch.scaling.law import FAR, Estimate, Law, Optimum
from nextpatch.scaling.parabola import WARNING

_AHEAD = (1.0, 10.0)  # times the largest budget, for which the best size is told


def law_text(law: Law) -> str:
    """The whole law, line by line."""
    lines = [
        f"law of {law.source}: {len(law.runs)} runs, {law.bootstraps} bootstraps, 90 % intervals",
        *([law.about] if law.about else []),
        f"  loss = {short(law.floor.value)} + {short(law.params_factor.value)} N^-{short(law.alpha.value)} "
        f"+ {short(law.patches_factor.value)} D^-{short(law.beta.value)}",
        f"  N: parameters of {counted(law)}; D: patches seen, {law.patches_per_image:g} an image; "
        f"C: {'operations by the formula of nextpatch plan' if law.runs[0].flops is not None else '6 N D'}",
        f"  alpha  {exponent(law.alpha)}   more parameters",
        f"  beta   {exponent(law.beta)}   more images",
        f"  E      {between(law.floor)}   what neither brings down",
        f"  the fit misses a run by {law.residual:.2%} in the median",
        *_frontier(law),
        *_budgets(law),
        *_parabolas(law),
        *_others(law),
        *(f"warning: {line}" for line in law.warnings),
        *(f"left out: {one.name}: {one.reason}" for one in law.left_out),
    ]
    return "\n".join(lines)


def counted(law: Law) -> str:
    """Which parameters N counts, in words."""
    return "the trunk, without the head" if law.counted == "trunk" else "trunk and head"


def short(value: float) -> str:
    """Three digits, large numbers in words: 0.412, 12.3 million, 4.5e+15."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if 1 <= value / size < 1000:
            return f"{value / size:.3g} {word}"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{round(value, 2 - floor(log10(abs(value)))):,.10g}" if value else "0"


def between(found: Estimate) -> str:
    """A value with its interval."""
    return f"{short(found.value)} ({short(found.low)} to {short(found.high)})"


def exponent(found: Estimate) -> str:
    """An exponent, or that none is established."""
    return between(found) + ("" if found.positive else ", not established: the interval includes 0")


def optimum_text(best: Optimum) -> str:
    """How a budget is spent best, and whether the law reaches that far."""
    said = (
        f"{best.flops:.3g} FLOP: N {between(best.params)} parameters, {between(best.images)} images "
        f"(D {between(best.patches)} patches), loss {between(best.loss)}"
    )
    if best.beyond > FAR:
        return (
            f"{said}\n  the law does not reach that far: this is {short(best.beyond)} times beyond the budgets that it "
            f"was fitted to, and up to {FAR:.0f} it may be asked"
        )
    return f"{said}; extrapolated {short(best.beyond)} times" if best.beyond > 1.005 else said


def _frontier(law: Law) -> list[str]:
    found = law.frontier
    if found is None:
        return ["  no compute-optimal frontier: it needs both exponents, and one of ten bootstraps has not both"]
    lines = [
        f"  best at a budget: loss = E + {short(found.flops_factor.value)} C^-{short(found.gamma.value)}, "
        f"gamma {between(found.gamma)}",
        f"  N grows as C^a, a {between(found.params_share)}; D as C^b, b {between(found.patches_share)}",
    ]
    if law.direct:
        direct = law.direct
        lines.append(
            f"  the frontier's {direct.configurations} configurations alone: gamma {exponent(direct.gamma)}, "
            f"E {between(direct.floor)}"
        )
    return lines


def _budgets(law: Law) -> list[str]:
    most = max(run.spent for run in law.runs)
    found = [best for times in _AHEAD if (best := law.optimum(times * most))]
    return [f"  {optimum_text(best)}" for best in found]


def _parabolas(law: Law) -> list[str]:
    if law.parabola_share is None:
        return []
    number = sum(one.params > 0 for one in law.parabolas)
    return [f"  IsoFLOP parabolas of {number} budgets: N grows as C^{short(law.parabola_share)}; {WARNING}"]


def _others(law: Law) -> list[str]:
    lines = []
    if held := law.held_out:
        lines.append(
            f"  held out: without the largest budget ({held.name}, {held.flops:.3g} FLOP) the law predicts "
            f"{between(held.predicted)}; measured {short(held.measured)}: {100 * held.error:+.2f} %"
        )
    if down := law.downstream:
        lines.append(
            f"  loss and probe: Spearman's rho {between(down.spearman)}, {down.verdict}; error in % = "
            f"{short(down.offset.value)} + {short(down.slope.value)} x loss"
        )
    return lines
