"""`nextpatch.pretrain`: trains a model on images by predicting the next patch."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nextpatch.api.given_values import keywords, out_path, plain
from nextpatch.api.images import Images, Named, named
from nextpatch.api.pages import try_page
from nextpatch.api.recipes import RecipeLike, gone_on_with, in_tables, settled, values_below
from nextpatch.api.session import leave, session
from nextpatch.api.weights import place_of
from nextpatch.core.errors import ConfigError
from nextpatch.core.writer import only_writer
from nextpatch.data.sources.source import Source
from nextpatch.dist.ranks import Ranks
from nextpatch.measure.run_summary import RunHistory, RunSummary
from nextpatch.model.config import ModelConfig
from nextpatch.runs.given import Values, laid_over, overlay
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain.run import Pretrained
from nextpatch.tasks.pretrain.run import pretrain as pretrain_run
from nextpatch.tasks.report.build import write_report
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load

SIZE = "small"  # of a model whose size nobody says


@dataclass(frozen=True, eq=False, repr=False)
class PretrainResult:
    """A run: its directory `run`, and what it came to. It stands for the run wherever weights are taken."""

    run: Path
    recipe: Recipe
    summary: RunSummary
    history: RunHistory
    report: Path | None
    _images: tuple[Source, ...] = field(default=(), repr=False)  # in memory: held for a report, or to go on

    def __fspath__(self) -> str:
        return str(self.run)

    @property
    def steps(self) -> int:
        """Steps done."""
        return self.summary.step

    @property
    def loss(self) -> float | None:
        """Training loss, the mean since the entry before the last."""
        return self.summary.train_loss

    @property
    def val_loss(self) -> float | None:
        """Loss on held-out images, at the end."""
        return self.summary.val_loss

    @property
    def seconds(self) -> float | None:
        """Time of training, of all sessions together."""
        return self.summary.elapsed_s

    def load(self, **seen: Any) -> Backbone:
        """The model, as `nextpatch.load` gives it, with its options."""
        return load(self.run, **seen)

    def to_pandas(self) -> Any:
        """The loss curve as a pandas.DataFrame: a row for each entry, `kind` "train" or "val", `step`, `loss` ..."""
        return self.history.to_pandas()

    def __repr__(self) -> str:
        """The summary as text."""
        return str(self.summary)

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


def pretrain(
    data: Images | None,
    out: str | Path,
    *,
    model: str | ModelConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    val: Images | None = None,
    init: str | os.PathLike[str] | None = None,
    recipe: RecipeLike | None = None,
    resume: bool = False,
    report: bool = True,
    quiet: bool = False,
    **values: Any,
) -> PretrainResult:
    """Pre-train a model on images, in a new run directory `out`, as `nextpatch pretrain` does, and write its report.

    `data`: images as `nextpatch.dataset` takes them, or names as on the command line (a list of names, each with
    =WEIGHT behind it, is a mixture); labels are not used. `model`: its size - "nano", "tiny", "small" (the
    default), "base", "large" - or a ModelConfig. `steps`, or `minutes` for as many steps as fit. `val`: images to
    measure the loss on; left out, some of `data` are held out. `init`: weights to begin with. `recipe`: a Recipe, the
    name of a shipped one ("demo"), a .toml file, or a run. `values`: anything else that a recipe holds, by its name -
    lr=1e-3, global_batch_size=64, img_size=(28, 28), seed=1 - or in its table: guard={"window": 50}. What is not said
    is chosen from the images and the machine, and printed with the reason.

    With `resume` the run at `out` is continued, bit for bit as if it had never stopped, or started if there is none;
    `data` then says where its images are now, and None takes them from where they were. Ctrl-C, or a notebook's stop,
    finishes the step, saves, and raises KeyboardInterrupt. Images in memory are read by this process alone, unless you
    set `workers` (forked, or else images that can be pickled).

    Returns the run: `.val_loss`, `.load()`, `.to_pandas()` for its loss curve. Raises ConfigError for a wrong value,
    DataError for images that cannot be used, BadStepError if the loss is no longer finite.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (24, 28, 28), np.uint8)
    >>> run = nextpatch.pretrain(pixels, tmp / "run", model="nano", steps=2, report=False, quiet=True)
    >>> run.steps, run.load().embed(pixels[0]).shape
    (2, torch.Size([1, 1152]))
    """
    began_s, out = time.monotonic(), out_path(out)
    given, held_out = (None if images is None else named(images) for images in (data, val))
    below = values_below(recipe)
    stated = _stated(given, held_out, model, steps, minutes, place_of(init) if init else "", values)
    with session(quiet) as console, Ranks.opened() as ranks:
        begun = RunDir.exists(out)
        going_on = ranks.broadcast(resume and (begun or not (given or below)))
        known = gone_on_with(overlay(below, stated), out) if going_on else None
        found = known if going_on else settled(_complete(laid_over(below, stated)), out, ranks, console)
        outcome = pretrain_run(found, out, going_on, console, ranks, began_s)
        page = _page(out) if report and outcome.signal is None and ranks.is_main else None
    held = tuple(source for one in (given, held_out) if one for source in one.held)
    return _result(outcome, page, held)


def result_of(run: str | os.PathLike[str]) -> PretrainResult:
    """The result of a run that exists already, finished or not."""
    found = RunDir.open(Path(run))
    history = RunHistory.from_entries(found.read_metrics())
    page = found.path / "report.html"
    summary = RunSummary.of(str(found.path), found.recipe.train.steps, history)
    return PretrainResult(found.path, found.recipe, summary, history, page if page.exists() else None)


def _stated(
    given: Named | None, held_out: Named | None, model: str | ModelConfig | None, steps: int | None,
    minutes: float | None, init: str, values: dict[str, Any],
) -> Values:  # fmt: skip
    """What was said, in the tables of a recipe."""
    steps, minutes = plain(steps), plain(minutes)
    if steps is not None and minutes is not None:
        raise ConfigError("steps and minutes both say how long the run is; give one of them")
    for name, length in (("steps", steps), ("minutes", minutes)):
        if isinstance(length, (int, float)) and length <= 0:
            raise ConfigError(
                f"{name} {length} leaves nothing to do; leave it out for the length that the images suggest"
            )
    data: Values = {"train": list(given.names)} if given else {}
    data |= {"val": held_out.one("val")} if held_out else {}
    if any(one and one.in_memory for one in (given, held_out)):
        data["workers"] = 0
    train = {"steps": steps, "minutes": minutes, "init": init or None}
    said = {"data": data, "train": {name: value for name, value in train.items() if value is not None}}
    if model is not None:
        said |= in_tables({"model": model}) if isinstance(model, ModelConfig) else {"model": {"size": model}}
    return overlay(said, in_tables(values, keywords(pretrain)))


def _complete(values: Values) -> Values:
    """With a size, where neither widths nor weights nor a recipe say it."""
    model = values.get("model", {})
    open_size = not values.get("train", {}).get("init") and not (model.keys() & {"size", "embed_dim"})
    return overlay({"model": {"size": SIZE}}, values) if open_size else values


def _page(out: Path) -> Path | None:
    with only_writer(out / "report.html", "report", file=True):
        return try_page(lambda place: write_report(place).page, out)


def _result(outcome: Pretrained, page: Path | None, held: tuple[Source, ...]) -> PretrainResult:
    """What came out; Stopped where a signal ended it early."""
    run, steps = outcome.run, outcome.run.recipe.train.steps
    if outcome.signal is not None:
        said = f"stopped after step {outcome.step} of {steps} and saved"
        leave(outcome.signal, f"{said}; continue with nextpatch.pretrain(..., '{run.path}', resume=True)")
    found = result_of(run.path)
    return replace(found, report=page, _images=held)
