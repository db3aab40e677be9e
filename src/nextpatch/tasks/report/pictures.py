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
from nextpatch.data.views import to_model_input
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch, targets, with_prefix
from nextpatch.patches import patch_statistics, patchify, unpatchify
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.report.features import attention_maps, overlay, principal_colors
from nextpatch.tasks.report.images import image_uri
from nextpatch.train.heldout import HeldOut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """One held-out image and what became of it.

    `images` are data URIs: original, seen, predicted, restored, flat, features, and attention where a probe tells. The
    losses, the model's and that of guessing zero, are means over the scored patches.
    """

    key: str
    images: dict[str, str]
    loss: float
    mean_guess_loss: float


@dataclass(frozen=True)
class Gallery:
    """The pictures and how they were made; `explained` is the share of variance of each principal component."""

    pictures: list[Picture]
    prefix_len: int
    layer: str
    explained: list[float]
    attention_layers: list[str]


@dataclass(frozen=True)
class Completion:
    """Images in [0, 1], "batch channels height width", and losses per image."""

    seen: Tensor
    predicted: Tensor
    restored: Tensor
    flat: Tensor
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
    done = complete(model, inputs, mean, std)
    layer = f"block_{max(0, round(model.cfg.shape.depth * 2 / 3) - 1)}"
    colors, explained = principal_colors(model.features(inputs, [layer])[layer], model.cfg.grid)
    painted = {
        "original": shown, "seen": done.seen, "predicted": done.predicted, "restored": done.restored, "flat": done.flat,
        "features": colors,
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
    return Gallery(pictures, shown_prefix(model.cfg), layer, explained, layers)


def _attention(model: AIM, inputs: Tensor, probe: Path) -> tuple[Tensor | None, list[str]]:
    """Maps and layers of the probe's attention; none of a file that is absent, damaged or of another model."""
    if not probe.exists():
        return None, []
    try:
        return attention_maps(model, inputs, probe)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        log.warning("no attention map from %s (%s); probe again", probe, str(error).splitlines()[0])
        return None, []


def shown_prefix(cfg: ModelConfig) -> int:
    """The prefix length of the pictures: the upper half of the rows, or half of a single row."""
    rows, columns = cfg.grid
    return max(1, rows // 2 * columns if rows > 1 else columns // 2)


def complete(
    model: AIM, inputs: Float[Tensor, "batch channels height width"], mean: Sequence[float], std: Sequence[float]
) -> Completion:
    """Predict every patch after the prefix from all TRUE patches before it, and paint the outcome in four ways.

    A normalized prediction knows neither mean nor contrast of its patch: `predicted` shows it around grey, `restored`
    takes both from the true patch, and `flat` is the true mean alone, the share of `restored` that is not the model's.
    """
    cfg, prefix = model.cfg, shown_prefix(model.cfg)
    true = patchify(inputs, cfg.patch_size)
    wanted, (centre, scale) = targets(true, cfg.target), patch_statistics(true)
    lengths = torch.full((len(inputs),), prefix)
    guess = NextPatch(cfg).predict(model, inputs, with_prefix(lengths)).float().roll(1, dims=1)  # of patch i + 1
    errors = [(p - wanted)[:, prefix:].square().mean(dim=(1, 2)).tolist() for p in (guess, torch.zeros_like(guess))]
    spread, level = (torch.tensor(v).repeat(cfg.patch_size**2) for v in (std, mean))  # channels vary fastest
    normalized, grey = cfg.target == "norm_pixels", torch.full_like(guess, 0.5)

    def painted(before: Tensor, after: Tensor) -> Tensor:
        return unpatchify(torch.cat([before[:, :prefix], after[:, prefix:]], dim=1), cfg.grid, cfg.patch_size)

    original = true * spread + level
    return Completion(
        painted(original, grey),
        painted(grey, grey + 0.25 * guess if normalized else guess * spread + level),
        painted(original, (guess * scale + centre if normalized else guess) * spread + level),
        painted(original, centre.expand_as(true) * spread + level),
        *errors,
    )
