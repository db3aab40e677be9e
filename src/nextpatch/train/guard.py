"""Steps that must not be taken: a loss or gradient that is not finite, or far above what it was."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from nextpatch.train.config import GuardConfig

_LEAST = 0.01  # of the mean: the smallest standard deviation reckoned with, or else a flat loss is all spikes
Action = Literal["apply", "skip", "stop"]


@dataclass
class GuardState:
    """What the guard remembers, oldest first, of the steps it let pass; part of every checkpoint."""

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    skipped: int = 0  # steps in a row, up to now


@dataclass(frozen=True)
class Verdict:
    """What to do with a step, and what is wrong with it; empty when nothing is."""

    action: Action
    trouble: str = ""


def judge(cfg: GuardConfig, state: GuardState, loss: float, grad_norm: float) -> Verdict:
    """The verdict on a step with this loss and gradient norm; remembers it in `state`.

    A pure function of values that are the same on all ranks, so all come to the same verdict.
    """
    verdict = _verdict(cfg, state, loss, grad_norm)
    if verdict.action == "apply":
        state.skipped = 0
        for values, value in ((state.losses, loss), (state.grad_norms, grad_norm)):
            values.append(value)
            del values[: -cfg.window]
    else:
        state.skipped += 1
    return verdict


def judge_validation(cfg: GuardConfig, loss: float) -> Verdict:
    """The verdict on a validation loss: nothing is updated by it, so one that is not finite stops the run or is told.

    Training goes on until its own loss is not finite where `non_finite` is "skip".
    """
    if math.isfinite(loss):
        return Verdict("apply")
    trouble = f"the validation loss is {loss}: the weights give numbers that are not finite on held-out images"
    if cfg.non_finite == "skip":
        return Verdict("apply", trouble)
    return Verdict("stop", f"{trouble}. Stopped; --resume with --guard.non_finite skip goes on all the same")


def _verdict(cfg: GuardConfig, state: GuardState, loss: float, grad_norm: float) -> Verdict:
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        return _limited(cfg, state, cfg.non_finite, f"loss {loss}, gradient norm {grad_norm}")
    spikes = [
        text
        for name, values, value in (("loss", state.losses, loss), ("gradient norm", state.grad_norms, grad_norm))
        if (text := _spike(cfg, name, values, value))
    ]
    if not spikes or cfg.spike == "ignore":
        return Verdict("apply")
    if cfg.spike == "warn":
        return Verdict("apply", "; ".join(spikes))
    return _limited(cfg, state, cfg.spike, "; ".join(spikes))


def _limited(cfg: GuardConfig, state: GuardState, action: Action, trouble: str) -> Verdict:
    if action == "skip" and state.skipped >= cfg.max_skips:
        return Verdict("stop", f"{trouble}, after {state.skipped} skipped steps in a row")
    return Verdict(action, trouble)


def _spike(cfg: GuardConfig, name: str, values: Sequence[float], value: float) -> str:
    if len(values) < cfg.window // 2:
        return ""
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    if value <= mean + cfg.sigmas * max(deviation, _LEAST * abs(mean)):
        return ""
    return f"{name} {value:.4g} is more than {cfg.sigmas:g} standard deviations above {mean:.4g}, its mean"
