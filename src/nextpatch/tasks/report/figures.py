"""Every figure of the page: what report.json holds and all that the charts are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from nextpatch.config import to_dict
from nextpatch.data.collection import relative
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.measure.run_summary import RunSummary
from nextpatch.model.count import count_params, forward_flops
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.registry import objective_of
from nextpatch.runs.results import set_aside
from nextpatch.tasks.report.depth import last_and_best
from nextpatch.tasks.report.facts import CurvePoint, Facts, FileFacts, list_files, thin
from nextpatch.tasks.report.pictures import Gallery
from nextpatch.tasks.report.verdict import Evidence, KeyFigure, compared_rows, key_figures, sentence
from nextpatch.train.validation import chunk_size


@dataclass(frozen=True)
class ModelOutputs:
    """What needed the weights and the data: the loss of guessing, pictures, and the step of the weights; each None
    where they were not to be had."""

    baseline_loss: float | None = None
    gallery: Gallery | None = None
    checkpoint_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingFigures:
    """The last training entry, and the curve in at most `POINTS` points."""

    step: int
    planned_steps: int
    log_every: int
    images: float | None
    elapsed_s: float | None
    lr: float | None
    grad_norm: float | None
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class LossPoint:
    """A validation: step and loss."""

    step: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class ValidationFigures:
    """The last validation by place (`map`: by patch of the image), all of them by step, and the loss of guessing on the
    same patches."""

    grid: tuple[int, int]
    chunk_size: int
    images: float | None
    position_loss: tuple[float | None, ...] | None
    chunk_loss: tuple[float | None, ...] | None
    map: tuple[float | None, ...]
    unit: str
    curve: tuple[LossPoint, ...]
    mean_guess_loss: float | None
    mean_guess: str


@dataclass(frozen=True, kw_only=True)
class ReportFigures:
    """All that the page shows but the pictures; report.json has the same fields."""

    run: str
    verdict: str
    key_figures: tuple[KeyFigure, ...]
    notes: tuple[str, ...]
    summary: RunSummary
    training: TrainingFigures
    validation: ValidationFigures
    model: dict[str, Any]
    checkpoint_step: int | None
    gallery: dict[str, Any] | None
    probe: dict[str, Any] | None
    recipe: dict[str, Any]
    environment: dict[str, Any] | None
    commands: tuple[str, ...]
    files: tuple[FileFacts, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: no pixels in it."""
        return to_dict(self)


def figures(facts: Facts, outputs: ModelOutputs) -> ReportFigures:
    """The figures of a run as read."""
    name = facts.path.resolve().name
    history, planned, baseline_loss = facts.history, facts.recipe.train.steps, outputs.baseline_loss
    baseline = objective_of(facts.recipe.model).words.guess
    results, probed = (facts.probe.results, facts.probe.checkpoint_step) if facts.probe else ((), None)
    evidence = Evidence(history.train, history.val, planned, baseline_loss, baseline, results, probed)
    return ReportFigures(
        run=name,
        verdict=sentence(evidence),
        key_figures=tuple(key_figures(evidence)),
        notes=tuple(facts.notes),
        summary=RunSummary.of(name, planned, history, baseline_loss),
        training=_training(facts),
        validation=_validation(facts, baseline_loss, baseline),
        model=_model(facts),
        checkpoint_step=outputs.checkpoint_step,
        gallery=None if outputs.gallery is None else _gallery(outputs.gallery),
        probe=None if facts.probe is None else _probe(facts.probe),
        recipe=_recipe(facts),
        environment=facts.environment,
        commands=tuple(_commands(facts)),
        files=tuple(list_files(facts.path)),
    )


def _recipe(facts: Facts) -> dict[str, Any]:
    """Its values, with places as a reader elsewhere may see them."""
    values = to_dict(facts.recipe)
    values["data"] |= {"train": [relative(spec) for spec in facts.recipe.data.train]}
    values["data"] |= {"val": relative(facts.recipe.data.val)}
    values["train"] |= {"init": relative(facts.recipe.train.init)}
    return values


def _training(facts: Facts) -> TrainingFigures:
    last = facts.history.train[-1] if facts.history.train else None
    return TrainingFigures(
        step=facts.history.step,
        planned_steps=facts.recipe.train.steps,
        log_every=facts.recipe.train.log_every,
        images=last.images if last else None,
        elapsed_s=last.elapsed_s if last else None,
        lr=last.lr if last else None,
        grad_norm=last.grad_norm if last else None,
        curve=tuple(thin(facts.history.train)),
    )


def _validation(facts: Facts, baseline_loss: float | None, baseline: str) -> ValidationFigures:
    val, cfg = facts.history.val, facts.recipe.model
    last = val[-1] if val else None
    return ValidationFigures(
        grid=cfg.grid,
        chunk_size=chunk_size(cfg.num_patches),
        images=last.images if last else None,
        position_loss=last.position_loss if last else None,
        chunk_loss=last.chunk_loss if last else None,
        map=tuple(_on_the_image(facts, last.position_loss if last else None)),
        unit=objective_of(cfg).unit,
        curve=tuple(LossPoint(entry.step, entry.loss) for entry in val),
        mean_guess_loss=baseline_loss,
        mean_guess=baseline,
    )


def _on_the_image(facts: Facts, position_loss: Sequence[float | None] | None) -> list[float | None]:
    """The losses of the places where the predicted patches lie, in raster order; None where nothing is predicted."""
    objective = objective_of(facts.recipe.model)
    found: list[float | None] = [None] * facts.recipe.model.num_patches
    for patch, loss in zip(objective.predicts(objective.showcase(1))[0].tolist(), position_loss or (), strict=False):
        found[patch] = loss
    return found


def _model(facts: Facts) -> dict[str, Any]:
    cfg = facts.recipe.model
    return {
        **asdict(cfg.resolved()),
        "target": cfg.target,
        "num_patches": cfg.num_patches,
        "params": count_params(cfg)._asdict(),
        "forward_flops": forward_flops(cfg),
        "train_step_flops": train_step_flops(cfg),
    }


def _gallery(gallery: Gallery) -> dict[str, Any]:
    values = asdict(gallery)
    values["pictures"] = [{k: v for k, v in p.items() if k != "images"} for p in values["pictures"]]
    return values


def _probe(probe: ProbeResult) -> dict[str, Any]:
    """Its values, with the rows that the curve compares named, and the last blocks beside the best."""
    compared = {kind: [to_dict(row) for row in rows] for kind, rows in compared_rows(probe.results).items()}
    depth = last_and_best(probe)
    return {**probe.to_dict(), "compared": compared, "last_and_best": depth and to_dict(depth)}


def _commands(facts: Facts) -> list[str]:
    """What to type to get this run again."""
    lines = [f"nextpatch pretrain {quote(str(facts.path / 'recipe.toml'))} --out runs/again"]
    if facts.probe:
        data, test = facts.probe.data, facts.probe.test
        named = "" if test == set_aside(data) else f" --test {quote(test)}"
        lines.append(f"nextpatch probe runs/again --data {quote(data)}{named}")
    return [*lines, "nextpatch report runs/again"]
