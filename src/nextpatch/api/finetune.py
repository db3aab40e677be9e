"""`nextpatch.finetune`: fine-tunes weights on labeled images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from nextpatch.api.config import config_of
from nextpatch.api.given_values import out_path
from nextpatch.api.images import Images, named
from nextpatch.api.session import leave, session
from nextpatch.api.weights import Weights, place_of
from nextpatch.dist.ranks import Ranks
from nextpatch.measure.finetune_summary import FinetuneSummary
from nextpatch.measure.metrics import Answers
from nextpatch.measure.table import data_frame
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.run import Finetuned, StoppedError
from nextpatch.tasks.finetune.run import finetune as finetune_weights
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load


@dataclass(frozen=True, eq=False, repr=False)
class FinetuneResult:
    """Adapted weights, in the folder `model`, their `answers` on the test images, and the `summary` of both. Wherever
    weights are taken it stands for them."""

    model: Path
    answers: Answers
    summary: FinetuneSummary

    def __fspath__(self) -> str:
        return str(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.summary.classes

    @property
    def top1(self) -> float:
        """Percent of the test images that are right."""
        return self.answers.top1

    def load(self, **seen: Any) -> Backbone:
        """The adapted model with its classifier, as `nextpatch.load` gives it, with its options."""
        return load(self.model, **seen)

    def __repr__(self) -> str:
        return repr(self.summary)

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: a row for each class that was tested, with class, images, top1 in percent."""
        counts = self.answers.labels.tolist()
        return data_frame(
            [
                {"class": self.classes[number], "images": counts.count(number), "top1": top1}
                for number, top1 in self.answers.per_class.items()
            ]
        )


def finetune(
    weights: Weights,
    data: Images,
    out: str | os.PathLike[str],
    *,
    test: Images | None = None,
    full: bool = False,
    epochs: int = 0,
    resume: bool = False,
    quiet: bool = False,
    **values: Any,
) -> FinetuneResult:
    """Fine-tune weights on labeled images, in a new folder `out`: with low-rank adapters, or with `full` all weights.

    `weights`: a name as `nextpatch.load` takes it, or a result of `pretrain`. `data`, `test`: labeled images as
    `nextpatch.dataset` takes them, or names as on the command line (no `test`: a fifth of `data`, set aside). `epochs`:
    passes over the images (0: 8 to 100, by their number). `values`: whatever else FinetuneConfig holds: lr=1e-3,
    rank=4, batch_size=64, augment=False, seed=1, device="cpu". With `resume` the work at `out` is continued from where
    it was saved, with the same images. Ctrl-C finishes the update, saves, and raises KeyboardInterrupt.

    Returns the adapted weights with their accuracy on the test images, which are looked at once. Raises DataError where
    labels are missing or test images are learned from, ConfigError or WeightsError for what cannot be used.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (24, 28, 28), np.uint8)
    >>> pixels[1::2, :, :14] = 0  # every second one is dark on the left
    >>> labels = ["bright", "dark"] * 12
    >>> found = nextpatch.finetune(nano_run, (pixels, labels), tmp / "adapted", epochs=1, augment=False, quiet=True)
    >>> found.classes, len(found.answers.labels)
    (('bright', 'dark'), 4)
    >>> len(nextpatch.classify(found, pixels[0], top=2, quiet=True)[0].top)
    2
    """
    given, tested = named(data, labels=True), None if test is None else named(test, labels=True)
    with session(quiet) as console, Ranks.opened() as ranks:
        config = config_of(
            FinetuneConfig, finetune, weights=place_of(weights), data=given.one("data"),
            test=tested and tested.one("test"), out=out_path(out), full=full, epochs=epochs, resume=resume, **values,
        )  # fmt: skip
        found = _finetuned(config, console, ranks)
    if isinstance(found, StoppedError):
        step, received = found.outcome.step, found.outcome.signal
        assert received is not None
        again = f"nextpatch.finetune(..., '{out}', resume=True)"
        leave(received, f"stopped after update {step} and saved; continue with {again}")
    return FinetuneResult(found.model, found.answers, found.summary)


def _finetuned(config: FinetuneConfig, console: Console, ranks: Ranks) -> Finetuned | StoppedError:
    try:
        return finetune_weights(config, console, ranks)
    except StoppedError as stop:
        return stop
