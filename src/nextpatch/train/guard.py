"""The guard: finds steps that must not be taken, whose loss or gradient is not finite or far above the usual."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from nextpatch.core.text import plain
from nextpatch.runs.config import GuardConfig

_LEAST = 0.01  # of the mean: the smallest standard deviation reckoned with, or else a flat loss is all spikes
_TIMES = 8.0  # a norm so many times the usual one is a spike whatever the loss does; the most in 24 healthy runs: 6.1
_TINY = 1e-30
Action = Literal["apply", "skip", "stop"]


@dataclass
class GuardState:
    """What the guard remembers, oldest first, of the steps it let pass; part of every checkpoint."""

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    skipped: int = 0  # steps in a row, up to now


@dataclass(frozen=True)
class Decision:
    """What to do with a step, and what is wrong with it; empty when nothing is."""

    action: Action
    trouble: str = ""


def decide(cfg: GuardConfig, state: GuardState, loss: float, grad_norm: float) -> Decision:
    """The decision on a step with this loss and gradient norm; remembers it in `state`.

    A pure function of values that are the same on all ranks, so all come to the same decision.
    """
    decision = _decision(cfg, state, loss, grad_norm)
    if decision.action == "apply":
        state.skipped = 0
        for values, value in ((state.losses, loss), (state.grad_norms, grad_norm)):
            values.append(value)
            del values[: -cfg.window]
    else:
        state.skipped += 1
    return decision


def decide_validation(cfg: GuardConfig, loss: float) -> Decision:
    """The decision on a validation loss: nothing is updated by it, so one that is not finite stops the run or is told.

    Training goes on until its own loss is not finite where `non_finite` is "skip".
    """
    if math.isfinite(loss):
        return Decision("apply")
    trouble = f"the validation loss is {loss}: the model's outputs on held-out images are not finite"
    if cfg.non_finite == "skip":
        return Decision("apply", trouble)
    return Decision("stop", f"{trouble}. Stopped. To continue without such steps: --resume --guard.non-finite skip")


def _decision(cfg: GuardConfig, state: GuardState, loss: float, grad_norm: float) -> Decision:
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        return _limited(cfg, state, cfg.non_finite, f"loss {loss}, gradient norm {grad_norm}")
    spikes = _spikes(cfg, state, loss, grad_norm)
    if not spikes or cfg.spike == "ignore":
        return Decision("apply")
    if cfg.spike == "warn":
        return Decision("apply", "; ".join(spikes))
    return _limited(cfg, state, cfg.spike, "; ".join(spikes))


def _limited(cfg: GuardConfig, state: GuardState, action: Action, trouble: str) -> Decision:
    if action == "skip" and state.skipped >= cfg.max_skips:
        return Decision("stop", f"{trouble}, after {state.skipped} skipped steps in a row")
    return Decision(action, trouble)


def _spikes(cfg: GuardConfig, state: GuardState, loss: float, grad_norm: float) -> list[str]:
    """What is far above the steps remembered, in words.

    Norms of healthy runs are spread like their logarithms: now and then one is six times the usual, which clipping
    takes care of (docs/log.md). So a norm counts by its logarithm, and only where it is far beyond that, or the loss
    has risen too.
    """
    if len(state.losses) < cfg.window // 2:
        return []
    found = []
    loss_far, usual_loss = _far(state.losses, loss, _LEAST * abs(statistics.fmean(state.losses)))
    if loss_far > cfg.sigmas:
        found.append(f"loss {loss:.4g} is far above {usual_loss:.4g}, the mean of the last {len(state.losses)} steps")
    logs = [math.log(max(norm, _TINY)) for norm in state.grad_norms]
    norm_far, usual_log = _far(logs, math.log(max(grad_norm, _TINY)), _LEAST)
    times = grad_norm / math.exp(usual_log)
    if norm_far > cfg.sigmas and (times > _TIMES or loss_far > cfg.sigmas / 2):
        found.append(f"gradient norm {grad_norm:.4g} is {plain(times, 3)} times that of the last {len(logs)} steps")
    return found


def _far(values: Sequence[float], value: float, least: float) -> tuple[float, float]:
    """(how many standard deviations, of at least `least`, a value lies above the mean of others; that mean)."""
    mean = statistics.fmean(values)
    return (value - mean) / max(statistics.pstdev(values), least, _TINY), mean
