"""`nextpatch.check`: whether a model, or any training step, predicts what it claims and never sees its target."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.data.survey import survey
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Claims, Draws, Objective
from nextpatch.objective.registry import objective_of
from nextpatch.runs.given import recipe_path
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.check.foreign import check_foreign, next_patch
from nextpatch.tasks.check.verdict import CheckResult, check_objective, examined, model_to_check
from nextpatch.weights.backbone import Backbone

Step: TypeAlias = Callable[[Tensor, Mapping[str, Tensor]], Any]
Target: TypeAlias = str | os.PathLike[str] | Recipe | ModelConfig | Backbone | AIM | Objective | Step | None
_EXAMPLES = 3  # images of a step of another make


def check(
    target: Target = None,
    *,
    model: Backbone | AIM | ModelConfig | None = None,
    images: Images | None = None,
    patch_size: int = 0,
    head: nn.Module | None = None,
    claims: Claims | None = None,
    draws: Draws | None = None,
    tokenizer: nn.Module | None = None,
    quiet: bool = False,
) -> CheckResult:
    """Prove with gradients that each patch is predicted from the patches that it may see, and from no others.

    `target`: a run (its weights), a recipe or a ModelConfig (that model with small widths), a model that is loaded, an
    Objective (with the `model` that it is for), or None for a small model of ours. What is given stays as it is.

    Or a training step of another make, `step(images, draws) -> loss`, with the `images` that it takes: a float tensor
    "batch channels height width", best float64, or images as `nextpatch.dataset` takes them, of one size, which are
    normalized then. `patch_size` in pixels, `head` the module that predicts, `claims` what it should do (by default the
    paper's objective), `draws` those to be tried, `tokenizer` the module whose codes are predicted, where it is codes;
    see `nextpatch.tasks.check.foreign.check_foreign`.

    Returns a result that is True where all proofs hold, with `.verdicts`, each with its claim and reason. Raises
    RunError, ConfigError or UserError for what cannot be examined.

    >>> import nextpatch
    >>> found = nextpatch.check(nano_run, quiet=True)
    >>> bool(found), found.conclusion
    (True, 'all 9 proofs hold: it predicts the next patch and never sees it')
    """
    with session(quiet), phase("proving"):
        ours = isinstance(target, (Backbone, AIM, ModelConfig, Recipe, str, os.PathLike, Objective)) or target is None
        if not ours:
            return _foreign(target, images, patch_size, head, claims, draws, tokenizer)
        if isinstance(target, Objective):
            small, what = model_to_check(_plain(model))
            objective, what = target, f"{type(target).__name__} on {what}"
        else:
            small, what = model_to_check(_plain(target))
            objective = objective_of(small.cfg)
        return CheckResult.of(examined(what, small), check_objective(objective, small), objective.words)


def _plain(target: Any) -> Path | Recipe | ModelConfig | AIM | None:
    if isinstance(target, Backbone):
        return target.aim
    if isinstance(target, (str, os.PathLike)):
        place = Path(target)
        return place if place.is_dir() else recipe_path(os.fspath(target))
    found: Path | Recipe | ModelConfig | AIM | None = target
    return found


def _foreign(
    step: Any, images: Images | None, patch_size: int, head: nn.Module | None, claims: Claims | None,
    draws: Draws | None, tokenizer: nn.Module | None,
) -> CheckResult:  # fmt: skip
    if not callable(step) or images is None or patch_size < 1:
        raise ConfigError(
            "nothing here can be examined; give a run, a recipe, a model, an objective, or a training step "
            "step(images, draws) with images=... and patch_size=..."
        )
    pixels = images if isinstance(images, Tensor) and images.is_floating_point() else _normalized(images)
    claims = claims or next_patch(pixels, patch_size)
    verdicts = check_foreign(step, pixels, patch_size, head, claims, draws, tokenizer)
    return CheckResult.of(getattr(step, "__qualname__", type(step).__name__), verdicts, claims.words)


def _normalized(images: Images) -> Tensor:
    """A few images as float64 around 0."""
    given = named(images, one=True)
    source = open_source(given.one("images"))
    seen = survey(source, _EXAMPLES)
    size = (seen.median_height, seen.median_width)
    batch = next(iter(eval_batches(source, np.arange(min(_EXAMPLES, len(source))), size, seen.channels, _EXAMPLES)))
    return (batch.images.to(torch.float64) / 255 - 0.5) / 0.25
