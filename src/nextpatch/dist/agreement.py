"""What the ranks exchange at every step, in one all-reduce: the loss, and whether a rank was asked to stop."""

from __future__ import annotations

import signal
from typing import NamedTuple

from nextpatch.dist.ranks import Ranks
from nextpatch.core.signals import SIGNALS


class Agreed(NamedTuple):
    """The same on all ranks: loss and gradient norm, a signal that came to any of them, how many have news of what."""

    loss: float
    grad_norm: float
    signal: signal.Signals | None
    failed_saves: int
    bad_samples: int


def agree(
    ranks: Ranks, loss: float, grad_norm: float, received: signal.Signals | None, save_failed: bool, bad_samples: int
) -> Agreed:
    """Meet at the end of a step's backward pass: `loss` is this rank's part of the sum, the rest what it knows.

    The norm is rank 0's, to the last bit: every decision that follows from it is then the same everywhere.
    """
    signals = [float(received == number) for number in SIGNALS]
    total, norm, saves, bad, *raised = ranks.sum(
        [loss, grad_norm if ranks.is_main else 0.0, save_failed, bad_samples, *signals]
    )
    which = next((number for number, count in zip(SIGNALS, raised, strict=True) if count), None)
    return Agreed(total, norm, which, int(saves), int(bad))
