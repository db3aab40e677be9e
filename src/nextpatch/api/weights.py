"""Weights for every function: a name as on the command line, a model that is loaded, or what a function returned."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from nextpatch.core.errors import UserError
from nextpatch.model.precision import resolve_device
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load

Weights: TypeAlias = str | os.PathLike[str] | Backbone
_WANTED = "give a run, a file, a name of nextpatch.load, what it loaded, or a result of pretrain or finetune"


def place_of(weights: Weights) -> str:
    """The name of weights; UserError for a model in memory, which has none that could be written down."""
    if isinstance(weights, Backbone):
        raise UserError(
            f"this keeps the name of its weights, and {weights.about.name} is a model in memory; give the run, the "
            "file or the name that it was loaded from"
        )
    return path_of(weights)


def name_of(weights: Weights) -> str:
    """What to call them in results."""
    return weights.about.name if isinstance(weights, Backbone) else path_of(weights)


def path_of(weights: str | os.PathLike[str]) -> str:
    """The name as a text; UserError for what is no name of weights at all."""
    if isinstance(weights, (str, os.PathLike)) and isinstance(found := os.fspath(weights), str):
        return found
    raise UserError(f"{type(weights).__name__} cannot be used as weights; {_WANTED}")


def model_of(weights: Weights, device: str = "auto", **seen: Any) -> Backbone:
    """The model, on the device; one that is loaded stays where and as it is. `seen`: as `nextpatch.load` takes them."""
    given = {name: value for name, value in seen.items() if value not in (None, "")}
    if not isinstance(weights, Backbone):
        return load(path_of(weights), device=resolve_device(device), **given)
    if given:
        raise UserError(f"{', '.join(given)}: the model is loaded already; load it so: nextpatch.load(...)")
    return weights
