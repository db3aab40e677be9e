"""Every figure of the page: what report.json holds and all that the charts are drawn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from nextpatch.config import to_dict
from nextpatch.data.collection import relative
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.measure.run_summary import Losses, RunSummary, ValEntry
from nextpatch.model.count import count_params, forward_flops
from nextpatch.model.variant import variant_of
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.objective import fixed_patches
from nextpatch.objective.registry import objective_of
from nextpatch.runs.results import set_aside
from nextpatch.tasks.report.depth import last_and_best
from nextpatch.tasks.report.facts import CurvePoint, Facts, FileFacts, list_files, thin
from nextpatch.tasks.report.generated import DrawnSamples
from nextpatch.tasks.report.generated_page import figures_of
from nextpatch.tasks.report.pictures import Gallery
from nextpatch.tasks.report.verdict import Evidence, KeyFigure, compared_rows, key_figures, sentence


@dataclass(frozen=True)
class ModelOutputs:
    """What needed the weights and the data: the loss of guessing, pictures, the step of the weights, and what
    they generate; each None where it was not to be had."""

    baseline_loss: float | None = None
    gallery: Gallery | None = None
    checkpoint_step: int | None = None
    generated: DrawnSamples | None = None


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
    """A validation: step and loss, and that of averaged weights."""

    step: int
    loss: float
    ema_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationFigures:
    """The last validation by place of the sequence (`map`: by patch of the image; `flipped`: of the images upside
    down), all of them by step, and the loss of guessing on the same patches."""

    grid: tuple[int, int]
    order: str
    images: float | None
    position_loss: Losses | None
    chunk_loss: Losses | None
    chunk_start: tuple[int, ...]
    flipped_loss: float | None
    flipped_chunk_loss: Losses | None
    map: Losses
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
    generated: dict[str, Any] | None
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
    objective = objective_of(facts.recipe.model)
    baseline = objective.words.guess
    results, probed = (facts.probe.results, facts.probe.checkpoint_step) if facts.probe else ((), None)
    evidence = Evidence(history.train, history.val, planned, baseline_loss, baseline, results, probed, objective.unit)
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
        generated=None if outputs.generated is None else figures_of(outputs.generated),
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
    values["model"] |= {"tokenizer": relative(facts.recipe.model.tokenizer)}
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
        order=cfg.order,
        images=last.images if last else None,
        position_loss=last.position_loss if last else None,
        chunk_loss=last.chunk_loss if last else None,
        chunk_start=_chunk_start(cfg.num_patches, last),
        flipped_loss=last.flipped_loss if last else None,
        flipped_chunk_loss=last.flipped_chunk_loss if last else None,
        map=_on_the_image(facts, last),
        unit=objective_of(cfg).unit,
        curve=tuple(LossPoint(entry.step, entry.loss, entry.ema_loss) for entry in val),
        mean_guess_loss=baseline_loss,
        mean_guess=baseline,
    )


def _chunk_start(num_patches: int, last: ValEntry | None) -> tuple[int, ...]:
    """Where the chunks of a validation begin. Earlier versions, whose lines do not say it, took 16 patches for each, or
    of fewer than 64 patches an eighth."""
    if last is not None and last.chunk_start is not None:
        return last.chunk_start
    size = 16 if num_patches >= 64 else -(-num_patches // 8)
    return tuple(range(0, num_patches, size))


def _on_the_image(facts: Facts, last: ValEntry | None) -> Losses:
    """The losses at the patches of the image, in raster order; None where nothing is predicted, and everywhere where
    places predict other patches in other images and the entry does not say the losses of patches."""
    found: list[float | None] = [None] * facts.recipe.model.num_patches
    if last is not None and last.patch_loss is not None:
        return last.patch_loss
    patches = fixed_patches(objective_of(facts.recipe.model))
    if last is not None and patches is not None:
        for patch, loss in zip(patches.tolist(), last.position_loss or (), strict=False):
            found[patch] = loss
    return tuple(found)


def _model(facts: Facts) -> dict[str, Any]:
    cfg = facts.recipe.model
    return {
        **asdict(cfg.resolved().without_places()),
        "target": cfg.target,
        "variant": variant_of(cfg),
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
