"""How long a run will take, measured on its own machine, and how many steps fit into a time budget.

Steps are measured and thrown away before the first one: gradients of the run's first batches, computed and dropped, and
an update at a rate of zero on an optimizer of its own. Weights, optimizer and order of images are as before, so a run
with a budget is, bit for bit, the run of the number of steps that was fixed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import format_duration, plain
from nextpatch.data.loader import Batch, TrainStream
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Draws, Objective, scored_count
from nextpatch.objective.registry import objective_of
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.pretrain.learner import averaged, drawn
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import GROUP_SIZE, HeldOut
from nextpatch.train.loop import together
from nextpatch.train.optimizer import build_optimizer, set_lr
from nextpatch.train.schedule import warmup_steps
from nextpatch.train.step import accumulate_gradients, gradient_norm, update
from nextpatch.train.validation import blank, validation_loss

LEAST_STEPS = 20  # fewer are no schedule
LEAST_MEASURED, MOST_MEASURED = 4, 16  # steps, the first of which does not count
_SHARE, _LONGEST_S = 0.03, 10.0  # of the budget, and seconds, that measuring may take once the least are done
_PAUSES = 0.1  # of the time of the steps, at most, that validations and checkpoints take where no clock is given
_RESERVE, _REPORT_S = 0.02, 5.0  # of the budget, for what varies; and seconds for the report behind it
_SAMPLES, _DRAWN_S = 0.04, 20.0  # of the budget, for samples while training and in the report; the latter at most
_DISK_BYTES_PER_S, _NUMBER_BYTES = 1.5e8, 4  # a plain disk, with its syncs; a number in float32


@dataclass(frozen=True)
class Speed:
    """Seconds that a step, a validation and a checkpoint take, the slowest rank's."""

    step_s: float
    validation_s: float
    save_s: float

    def total_s(self, recipe: Recipe, done: int = 0) -> float:
        """Seconds from step `done` to the end of the run, by the recipe's clocks; before step 0 one more validation."""
        train, left = recipe.train, recipe.train.steps - done
        validations = _times(train.steps, train.val_every) - done // train.val_every + (done == 0)
        saves = _times(train.steps, train.checkpoint_every) - done // train.checkpoint_every
        return left * self.step_s + validations * self.validation_s + saves * self.save_s

    def said(self, recipe: Recipe, done: int = 0) -> str:
        """The estimate for a person: the whole time, and what it is made of."""
        left = recipe.train.steps - done
        return (
            f"about {format_duration(self.total_s(recipe, done))} for {left:,} steps of {_seconds(self.step_s)} each, "
            f"with validations of {_seconds(self.validation_s)}"
        )


def measured(model: AIM, stream: TrainStream, held: HeldOut, recipe: Recipe, ranks: Ranks = ALONE) -> Speed:
    """The speed of this run here (collective), by whole steps on its first images, which leave nothing behind.

    As many as are needed for a steady figure, within a small part of the budget.
    """
    train, compute, objective = recipe.train, Compute.of(recipe), objective_of(recipe.model)
    most_s = min(_LONGEST_S, _SHARE * 60 * train.minutes)
    optimizer = build_optimizer(model, recipe.optim)
    averages = averaged(model, recipe)
    set_lr(optimizer, 0.0)  # the update is computed, and moves nothing
    times: list[float] = []
    began = time.monotonic()
    shares = drawn(objective, stream, recipe, 0, MOST_MEASURED)
    with closing(together(shares, lambda share: scored_count(objective, share[1]), MOST_MEASURED, ranks)) as batches:
        for (batch, draws), scored in batches:
            _gradients(objective, model, batch, draws, scored, recipe, compute, ranks)
            norm = float(gradient_norm(model))
            if math.isfinite(norm):  # or else a rate of zero makes every weight NaN; the guard will judge this step
                update(model, optimizer, norm, recipe.optim.clip_norm)
                if averages is not None:
                    averages.update(0)
            optimizer.zero_grad(set_to_none=True)
            now = time.monotonic()
            times.append(_slowest(ranks, now - began))
            began = now
            if len(times) >= LEAST_MEASURED and sum(times) > most_s:
                break
    step_s = sum(times[1:]) / len(times[1:])
    return Speed(step_s, *_pauses_s(objective, model, held, recipe, ranks))


def guessed(model: AIM, held: HeldOut, recipe: Recipe, ranks: Ranks = ALONE) -> Speed:
    """The speed of this run here (collective), by two blank micro-batches: what computing takes, without the data."""
    compute, batch_size, objective = Compute.of(recipe), recipe.train.global_batch_size, objective_of(recipe.model)
    count = min(recipe.train.micro_batch_size, batch_size // ranks.size)
    batch = blank(model, count)
    draws = objective.draw(0, batch.positions)
    scored = scored_count(objective, draws)
    times = []
    for _ in range(2):
        times.append(_timed(lambda: _gradients(objective, model, batch, draws, scored, recipe, compute, ranks)))
        model.zero_grad(set_to_none=True)
    step_s = _slowest(ranks, times[-1]) * batch_size / (count * ranks.size)
    return Speed(step_s, *_pauses_s(objective, model, held, recipe, ranks))


def _gradients(
    objective: Objective, model: AIM, batch: Batch, draws: Draws, scored: int, recipe: Recipe, compute: Compute,
    ranks: Ranks,
) -> float:  # fmt: skip
    """Gradients of a batch, done when this returns."""
    micro = min(recipe.train.micro_batch_size, recipe.train.global_batch_size // ranks.size)
    return float(accumulate_gradients(objective, model, batch, draws, scored, micro, compute).total())


def fitted(recipe: Recipe, speed: Speed, left_s: float) -> Recipe:
    """The recipe with the largest number of steps that `left_s` seconds are enough for, and its clocks.

    Clocks that the recipe gives stay; others are those of any run, or slower ones where validations and checkpoints
    would take much of the time. ConfigError when not even LEAST_STEPS fit.
    """
    usable_s = left_s * (1 - _RESERVE) - _REPORT_S - _samples_s(recipe, left_s)
    slow = math.ceil((speed.validation_s + speed.save_s) / (_PAUSES * speed.step_s))
    low, high = LEAST_STEPS, LEAST_STEPS + max(0, int(usable_s / speed.step_s))
    if (short_s := speed.total_s(_of_steps(recipe, low, slow)) - usable_s) > 0:
        minutes = recipe.train.minutes + short_s / 60 * 1.1
        raise ConfigError(
            f"train.minutes {recipe.train.minutes:g} is too short: a step takes {_seconds(speed.step_s)}, a "
            f"validation {_seconds(speed.validation_s)}, and {LEAST_STEPS} steps are the least; give at least "
            f"{plain(minutes)} minutes"
        )
    while low < high:
        middle = (low + high + 1) // 2
        fits = speed.total_s(_of_steps(recipe, middle, slow)) <= usable_s
        low, high = (middle, high) if fits else (low, middle - 1)
    found = _of_steps(recipe, low, slow)
    warmup_steps(found.optim, low)  # one that is given may be too long
    return found


def _samples_s(recipe: Recipe, left_s: float) -> float:
    """Of runs that generate: a hundredth while they train (train/showing.py), the rest in the report."""
    return min(_SAMPLES * left_s, 0.01 * left_s + _DRAWN_S) if recipe.model.start_token else 0.0


def clock(steps: int) -> int:
    """Steps between validations, and between checkpoints, of a run that does not say: 20 of them, or each 1,000."""
    return min(1000, max(1, steps // 20))


def _of_steps(recipe: Recipe, steps: int, slow: int) -> Recipe:
    """With so many steps; clocks that are not given strike every `slow` steps at most, and at the end."""
    train, every = recipe.train, min(steps, max(clock(steps), slow))
    val_every, checkpoint_every = train.val_every or every, train.checkpoint_every or every
    warmup = warmup_steps(replace(recipe.optim, warmup_steps=-1), steps) if recipe.optim.warmup_steps < 0 else None
    optim = recipe.optim if warmup is None else replace(recipe.optim, warmup_steps=warmup)
    return replace(
        recipe, optim=optim, train=replace(train, steps=steps, val_every=val_every, checkpoint_every=checkpoint_every)
    )


def _pauses_s(objective: Objective, model: AIM, held: HeldOut, recipe: Recipe, ranks: Ranks) -> tuple[float, float]:
    """Of a validation and of a checkpoint. Averaged weights are validated as well, and saved beside the others and the
    two moments of each."""
    averages = bool(recipe.train.ema_half_life)
    validation_s = _validation_s(objective, model, held, Compute.of(recipe), ranks) * (1 + averages)
    return validation_s, _save_s(model, 3 + averages, ranks)


def _validation_s(objective: Objective, model: AIM, held: HeldOut, compute: Compute, ranks: Ranks) -> float:
    """Of one blank batch, twice, times their number: the second time nothing is compiled or set aside any more."""
    batches = [blank(model, min(GROUP_SIZE, max(1, len(held.indices))))]
    found = [_timed(lambda: validation_loss(objective, model, batches, compute, ranks, 1)) for _ in range(2)]
    return _slowest(ranks, found[-1]) * held.rounds


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _save_s(model: AIM, numbers: int, ranks: Ranks) -> float:
    """With so many numbers a parameter."""
    parameters = sum(p.numel() for p in model.parameters())
    return 0.1 + parameters * numbers * _NUMBER_BYTES / _DISK_BYTES_PER_S / ranks.size


def _slowest(ranks: Ranks, seconds: float) -> float:
    return float(max(ranks.gather(seconds)))


def _times(steps: int, every: int) -> int:
    """How often a clock strikes in a run, whose end counts in any case."""
    return -(-steps // every)


def _seconds(seconds: float) -> str:
    return f"{plain(seconds)} s" if seconds >= 0.1 else f"{plain(1000 * seconds)} ms"
