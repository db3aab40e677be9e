"""A run's model as one safetensors file, for anyone who wants the weights and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from nextpatch.config import to_dict
from nextpatch.core.tensors import save_safetensors
from nextpatch.core.writer import only_writer
from nextpatch.model.weights import to_released
from nextpatch.runs.run import EMA, RunDir, weights_of

Layout = Literal["ours", "released"]
FORMAT = "nextpatch-model-1"
EXPORTED = "model.safetensors"


def export_model(
    run: RunDir,
    out: Path | None = None,
    step: int | None = None,
    layout: Layout = "ours",
    img_size: tuple[int, int] | None = None,
    raw: bool = False,
) -> Path:
    """Write the weights of a run's newest checkpoint, or of the one of `step`, as one file; returns its path.

    `out` is RUN/model.safetensors when left out; an existing file is replaced in one step. The file's metadata holds
    the model's config as JSON, the step and the layout of names: ours, or that of the released weights; with
    `img_size` the config says another size of images than the run's. Needs memory for the weights once.
    They are the averaged weights where the run makes them, and the metadata says so ("weights": "average"), unless
    `raw` asks for those of the last step.

    Raises RunError when there is no checkpoint, CheckpointError when there is none of `step`.
    """
    out = out or run.path / EXPORTED
    with only_writer(out, "export", file=True):
        return _exported(run, out, step, layout, img_size, raw)


def _exported(
    run: RunDir, out: Path, step: int | None, layout: Layout, img_size: tuple[int, int] | None, raw: bool
) -> Path:
    checkpoint = run.checkpoint(step)
    cfg = run.recipe.model
    cfg = replace(cfg, img_size=img_size) if img_size else cfg
    weights: Mapping[str, Tensor] = weights_of(checkpoint, raw)
    statistics = run.recipe.data.statistics(cfg.in_chans)
    facts = {
        "format": FORMAT,
        "layout": layout,
        "step": str(checkpoint.step),
        "model": json.dumps(to_dict(cfg.without_places())),
        "run": run.path.resolve().name,
        "mean": json.dumps(list(statistics[0])),
        "std": json.dumps(list(statistics[1])),
        "preprocessing": json.dumps(to_dict(run.recipe.data.preprocessing)),
    }
    if run.recipe.data.classes:
        facts["labels"] = json.dumps(list(run.recipe.data.classes))
    if checkpoint.names(EMA):
        facts |= {"weights": "raw" if raw else "average", "ema_half_life": f"{run.recipe.train.ema_half_life:g}"}
    save_safetensors(out, to_released(weights, cfg) if layout == "released" else weights, facts)
    return out
