"""Every figure of the page in one plain dictionary: what report.json holds and all that the charts are drawn from."""

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
from nextpatch.tasks.report.facts import Facts, list_files, thin
from nextpatch.tasks.report.pictures import Gallery
from nextpatch.tasks.report.verdict import Evidence, compared_rows, key_figures, sentence
from nextpatch.train.validation import chunk_size


@dataclass(frozen=True)
class Scan:
    """What needed the weights and the data; each None where they were not to be had."""

    guess: float | None = None
    gallery: Gallery | None = None
    checkpoint_step: int | None = None


def figures(facts: Facts, look: Scan) -> dict[str, Any]:
    """The figures, ready for JSON: no pixels in it."""
    normalized = facts.recipe.model.target == "norm_pixels"
    name = "always guessing the mean of each patch" if normalized else "always guessing mean grey"
    results, probed = (facts.probe.results, facts.probe.checkpoint_step) if facts.probe else ((), None)
    history, planned = facts.history, facts.recipe.train.steps
    evidence = Evidence(history.train, history.val, planned, look.guess, name, results, probed)
    return {
        "run": facts.path.resolve().name,
        "verdict": sentence(evidence),
        "key_figures": [asdict(figure) for figure in key_figures(evidence)],
        "notes": facts.notes,
        "summary": to_dict(RunSummary.of(facts.path.resolve().name, planned, history, look.guess)),
        "training": _training(facts),
        "validation": {**_validation(facts), "mean_guess_loss": look.guess, "mean_guess": name},
        "model": _model(facts),
        "checkpoint_step": look.checkpoint_step,
        "gallery": None if look.gallery is None else _gallery(look.gallery),
        "probe": None if facts.probe is None else _probe(facts.probe),
        "recipe": _recipe(facts),
        "environment": facts.environment,
        "commands": _commands(facts),
        "files": list_files(facts.path),
    }


def _recipe(facts: Facts) -> dict[str, Any]:
    """Its values, with places as a reader elsewhere may see them."""
    values = to_dict(facts.recipe)
    values["data"] |= {"train": [relative(spec) for spec in facts.recipe.data.train]}
    values["data"] |= {"val": relative(facts.recipe.data.val)}
    values["train"] |= {"init": relative(facts.recipe.train.init)}
    return values


def _training(facts: Facts) -> dict[str, Any]:
    train = facts.history.train
    last = asdict(train[-1]) if train else {}
    return {
        "step": facts.history.step,
        "planned_steps": facts.recipe.train.steps,
        "log_every": facts.recipe.train.log_every,
        **{key: last.get(key) for key in ("images", "elapsed_s", "lr", "grad_norm")},
        "curve": thin(train, ("loss", "images_per_s", "tflops")),
    }


def _validation(facts: Facts) -> dict[str, Any]:
    val, cfg = facts.history.val, facts.recipe.model
    last = asdict(val[-1]) if val else {}
    return {
        "grid": list(cfg.grid),
        "chunk_size": chunk_size(cfg.num_patches),
        **{key: last.get(key) for key in ("images", "position_loss", "chunk_loss")},
        "map": _on_the_image(facts, last.get("position_loss") or []),
        "curve": [{"step": entry.step, "loss": entry.loss} for entry in val],
    }


def _on_the_image(facts: Facts, position_loss: Sequence[float | None]) -> list[float | None]:
    """The losses of the places where the predicted patches lie, in raster order; None where nothing is predicted."""
    objective = objective_of(facts.recipe.model)
    found: list[float | None] = [None] * facts.recipe.model.num_patches
    for patch, loss in zip(objective.predicts(objective.showcase(1))[0].tolist(), position_loss, strict=False):
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
