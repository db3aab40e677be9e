"""What the model makes of held-out images: completions, and beside them what its features show."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from nextpatch.data.collection import relative
from nextpatch.data.views import to_model_input, to_pixels
from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Draws, Objective, grey, scored_patches
from nextpatch.objective.registry import objective_of
from nextpatch.patches import by_pixel
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.report.features import attention_maps, overlay, principal_colors
from nextpatch.tasks.report.images import image_uri
from nextpatch.train.heldout import HeldOut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """One held-out image and what became of it.

    `images` are data URIs: original, seen, predicted, restored, guessed, features, and attention where a probe tells.
    The losses, the model's and that of guessing, are means over the scored patches.
    """

    key: str
    images: dict[str, str]
    loss: float
    mean_guess_loss: float


@dataclass(frozen=True)
class Gallery:
    """The pictures and how they were made; `explained` is the share of variance of each principal component."""

    pictures: list[Picture]
    given: str  # of each image, in words
    layer: str
    explained: list[float]
    attention_layers: list[str]


@dataclass(frozen=True)
class Completion:
    """Images in [0, 1], "batch channels height width", and losses per image."""

    seen: Tensor
    predicted: Tensor
    restored: Tensor
    guessed: Tensor
    loss: list[float]
    mean_guess_loss: list[float]


@torch.no_grad()
def draw_gallery(model: AIM, recipe: Recipe, images: HeldOut, probe: Path) -> Gallery:
    """Pictures of all `images`. `probe` is the file of the attentive probe; without it there is no attention map."""
    batches = list(images)
    pixels = torch.cat([batch.images for batch in batches])
    keys = [key for batch in batches for key in batch.keys]
    mean, std = recipe.data.statistics(recipe.model.in_chans)
    inputs, shown = to_model_input(pixels, mean, std), pixels / 255
    objective = objective_of(recipe.model)
    draws = objective.showcase(len(inputs))
    done = complete(objective, model, inputs, draws, mean, std)
    layer = f"block_{max(0, round(model.cfg.shape.depth * 2 / 3) - 1)}"
    colors, explained = principal_colors(model.features(inputs, [layer])[layer], model.cfg.grid)
    painted = {
        "original": shown, "seen": done.seen, "predicted": done.predicted, "restored": done.restored,
        "guessed": done.guessed, "features": colors,
    }  # fmt: skip
    maps, layers = _attention(model, inputs, probe)
    if maps is not None:
        painted["attention"] = torch.stack(
            [overlay(image, weights) for image, weights in zip(shown, maps, strict=True)]
        )
    pictures = [
        Picture(relative(key), {name: image_uri(images_of[i]) for name, images_of in painted.items()}, loss, guess_loss)
        for i, (key, loss, guess_loss) in enumerate(zip(keys, done.loss, done.mean_guess_loss, strict=True))
    ]
    return Gallery(pictures, objective.told(draws)[0], layer, explained, layers)


def _attention(model: AIM, inputs: Tensor, probe: Path) -> tuple[Tensor | None, list[str]]:
    """Maps and layers of the probe's attention; none of a file that is absent, damaged or of another model."""
    if not probe.exists():
        return None, []
    try:
        return attention_maps(model, inputs, probe)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        log.warning("no attention map from %s (%s); probe again", probe, str(error).splitlines()[0])
        return None, []


def complete(
    objective: Objective, model: AIM, inputs: Float[Tensor, "batch channels height width"], draws: Draws,
    mean: Sequence[float], std: Sequence[float],
) -> Completion:  # fmt: skip
    """What the model predicts of each scored patch, in four pictures.

    What the target leaves out of a patch is grey in `predicted`, the true patch's own in `restored`; `guessed` is the
    same by the baseline, so the share of `restored` that is not the model's.
    """
    cfg, baseline = model.cfg, objective.baseline()
    known, scored = (
        by_pixel(chosen, cfg.grid, cfg.patch_size)
        for chosen in (objective.given(draws), scored_patches(objective, draws))
    )
    drawn, restored, guessed = (
        to_pixels(images, mean, std)
        for images in (
            objective.complete(model, inputs, draws, grey(mean, std)),
            objective.complete(model, inputs, draws),
            objective.complete(baseline, inputs, draws),
        )
    )
    original = to_pixels(inputs, mean, std)
    count = objective.scored(draws).sum(dim=1)
    losses = [(objective.position_losses(m, inputs, draws).sum(dim=1) / count).tolist() for m in (model, baseline)]
    return Completion(original.where(known, 0.5), drawn.where(scored, 0.5), restored, guessed, *losses)
