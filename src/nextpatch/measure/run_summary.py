"""What a run logged, entry by entry, and what it came to: steps, losses, images, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, TypeVar

from nextpatch.config import ConfigError, from_dict
from nextpatch.measure.table import Table, data_frame

Losses = tuple[float | None, ...]
E = TypeVar("E", bound="TrainEntry | ValEntry")


@dataclass(frozen=True, kw_only=True)
class TrainEntry:
    """A "train" line of metrics.jsonl. `loss`, `images_per_s` and `tflops` are means since the line before; `images`
    and `elapsed_s` count from the start of the run; `lr` and `grad_norm` are of the last step."""

    step: int
    loss: float
    images: float
    elapsed_s: float
    images_per_s: float
    tflops: float
    lr: float | None = None
    grad_norm: float | None = None

    def __post_init__(self) -> None:
        _need_finite(self.loss, self.images, self.elapsed_s, self.images_per_s, self.tflops)


@dataclass(frozen=True, kw_only=True)
class ValEntry:
    """A "val" line: the loss on held-out images, in all, at each place and by chunks of the sequence (None: never
    scored), which begin at `chunk_start`; by patch of the image where that is another question. `flipped`: of the
    images upside down, after the last step. Of codes also the perplexity, and the share that is predicted right;
    of exact likelihoods the bits for a channel of a pixel; of averaged weights their loss. Lines of earlier versions
    say none of these."""

    step: int
    loss: float
    images: float | None = None
    position_loss: Losses | None = None
    chunk_loss: Losses | None = None
    chunk_start: tuple[int, ...] | None = None
    patch_loss: Losses | None = None
    flipped_loss: float | None = None
    flipped_position_loss: Losses | None = None
    flipped_chunk_loss: Losses | None = None
    perplexity: float | None = None
    accuracy: float | None = None
    bits_per_dim: float | None = None
    ema_loss: float | None = None

    def __post_init__(self) -> None:
        lists = (self.position_loss, self.chunk_loss, self.patch_loss, self.flipped_position_loss)
        every = [self.flipped_loss, *(self.flipped_chunk_loss or ()), *(v for losses in lists for v in losses or ())]
        _need_finite(self.loss, *(v for v in (*every, self.ema_loss, self.bits_per_dim) if v is not None))


@dataclass(frozen=True)
class RunHistory:
    """The entries of a run in the order of their steps; `num_damaged` had no finite loss, or were not whole."""

    train: tuple[TrainEntry, ...] = ()
    val: tuple[ValEntry, ...] = ()
    num_damaged: int = 0

    @classmethod
    def from_entries(cls, entries: Sequence[dict[str, Any]]) -> RunHistory:
        """Of the lines of a metrics.jsonl; other kinds of lines are passed over."""
        train = [_entry(TrainEntry, entry) for entry in entries if entry.get("kind") == "train"]
        val = [_entry(ValEntry, entry) for entry in entries if entry.get("kind") == "val"]
        damaged = train.count(None) + val.count(None)
        return cls(tuple(filter(None, train)), tuple(filter(None, val)), damaged)

    @property
    def step(self) -> int:
        """The last step that is told of; 0 of none."""
        return max((entries[-1].step for entries in (self.train, self.val) if entries), default=0)

    def until(self, step: int) -> RunHistory:
        """What had been logged when `step` was done."""
        train, val = [e for e in self.train if e.step <= step], [e for e in self.val if e.step <= step]
        return RunHistory(tuple(train), tuple(val), self.num_damaged)

    def to_pandas(self) -> Any:
        """One row per entry, as a pandas.DataFrame; UserError when pandas is not installed."""
        kinds: dict[str, Sequence[TrainEntry | ValEntry]] = {"train": self.train, "val": self.val}
        return data_frame([{"kind": kind, **asdict(entry)} for kind, entries in kinds.items() for entry in entries])


@dataclass(frozen=True, kw_only=True, repr=False)
class RunSummary:
    """What a run came to, as far as it has come; None for what was not measured.

    `val_loss` is on held-out images, as are `perplexity` and `accuracy` where codes are predicted, `bits_per_dim` where
    likelihoods are exact, `baseline_loss` that of the objective's baseline (what guessing gives) on the same,
    `ema_loss` that of averaged weights; `images` were seen in `elapsed_s`, of all sessions together.
    """

    run: str
    step: int
    planned_steps: int
    train_loss: float | None = None
    val_loss: float | None = None
    first_val_loss: float | None = None
    baseline_loss: float | None = None
    images: int | None = None
    elapsed_s: float | None = None
    images_per_s: float | None = None
    perplexity: float | None = None
    accuracy: float | None = None
    bits_per_dim: float | None = None
    ema_loss: float | None = None

    @classmethod
    def of(cls, run: str, planned_steps: int, history: RunHistory, baseline_loss: float | None = None) -> RunSummary:
        """Of what was logged."""
        last = history.train[-1] if history.train else None
        val = history.val[-1] if history.val else None
        speed = round(last.images / last.elapsed_s, 1) if last and last.elapsed_s else None
        return cls(
            run=run, step=history.step, planned_steps=planned_steps, train_loss=last.loss if last else None,
            val_loss=val.loss if val else None,
            first_val_loss=history.val[0].loss if history.val else None, baseline_loss=baseline_loss,
            images=int(last.images) if last else None, elapsed_s=last.elapsed_s if last else None, images_per_s=speed,
            perplexity=val.perplexity if val else None, accuracy=val.accuracy if val else None,
            bits_per_dim=val.bits_per_dim if val else None, ema_loss=val.ema_loss if val else None,
        )  # fmt: skip

    def table(self) -> Table:
        """Name and value of what was measured."""
        values = {
            "steps": f"{self.step:,} of {self.planned_steps:,}", "training loss": _text(self.train_loss, ".4f"),
            "validation loss": _text(self.val_loss, ".4f"),
            "validation loss, averaged weights": _text(self.ema_loss, ".4f"),
            "bits per dimension": _text(self.bits_per_dim, ".3f"), "perplexity": _text(self.perplexity, ",.1f"),
            "accuracy": _text(self.accuracy, ".1%"), "loss of the baseline": _text(self.baseline_loss, ".4f"),
            "images seen": _text(self.images, ","), "seconds": _text(self.elapsed_s, ",.1f"),
            "images per second": _text(self.images_per_s, ",.1f"),
        }  # fmt: skip
        return Table(f"Run {self.run}", ["measure", "value"], [[name, text] for name, text in values.items() if text])

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _entry(kind: type[E], entry: dict[str, Any]) -> E | None:
    try:
        return from_dict(kind, entry, extra_keys=True)
    except ConfigError:
        return None


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _need_finite(*values: float) -> None:
    if not all(map(isfinite, values)):
        raise ValueError("holds a number that is not finite")
