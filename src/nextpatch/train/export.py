"""A run's model as one safetensors file, for anyone who wants the weights and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor

from nextpatch.config import from_dict, to_dict
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.weights import from_released, to_released
from nextpatch.train.checkpoint import save_tensors, sync
from nextpatch.train.run import RunDir, RunError

Layout = Literal["ours", "released"]
FORMAT = "nextpatch-model-1"
EXPORTED = "model.safetensors"


def export_model(run: RunDir, out: Path | None = None, step: int | None = None, layout: Layout = "ours") -> Path:
    """Write the weights of a run's newest checkpoint, or of the one of `step`, as one file; returns its path.

    `out` is RUN/model.safetensors when left out; an existing file is replaced in one step. The file's metadata holds
    the model's config as JSON, the step and the layout of names: ours, or that of the released weights. Needs memory
    for the weights once. Raises RunError when there is no checkpoint, CheckpointError when there is none of `step`.
    """
    checkpoint = run.checkpoint(step)
    cfg, out = run.recipe.model, out or run.path / EXPORTED
    weights: Mapping[str, Tensor] = checkpoint.tensors("model")
    statistics = run.recipe.data.statistics(cfg.in_chans)
    facts = {
        "format": FORMAT,
        "layout": layout,
        "step": str(checkpoint.step),
        "model": json.dumps(to_dict(cfg)),
        "run": run.path.resolve().name,
        "mean": json.dumps(list(statistics[0])),
        "std": json.dumps(list(statistics[1])),
        "preprocessing": json.dumps(to_dict(run.recipe.data.preprocessing)),
    }
    aside = out.with_name(f".{out.name}.unfinished")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_tensors(aside, to_released(weights, cfg) if layout == "released" else weights, facts)
        sync(aside)
        aside.replace(out)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(out.parent)
    return out


def import_model(path: Path, device: torch.device | str = "cpu") -> AIM:
    """The model in a file that `export_model` wrote, in evaluation mode; RunError when it is another kind of file."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
        if facts.get("format") != FORMAT:
            raise RunError(f"{path} was not written by `nextpatch export`")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = AIM(from_dict(ModelConfig, json.loads(facts["model"])))
    model.load_state_dict(from_released(weights) if facts["layout"] == "released" else weights)
    return model.to(device).eval()
