"""Samples over training: a few images of a run that generates, always the same numbers, at a few moments of it.

They are drawn where a validation is, from the averaged weights where there are any. Nothing of training depends on
them: their noise is counted, not taken from a stream, and the weights come back as they were. They cost little by
count: at most one image is drawn for a thousand that the run learns from, about 1 % of its time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.output import save_picture
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.drawing import check_generates
from nextpatch.sampling.sampler import Sampler

log = logging.getLogger(__name__)

FOLDER = "samples"
GUIDANCE, STEPS, SEED = 2.0, 10, 0  # guided where there are classes; steps from noise to a patch
_MOMENTS = (0.125, 0.25, 0.5, 0.75, 1.0)  # of the steps
_MOST = 10  # images at a moment
_LEARNED = 1000  # images that the run learns from for each that is drawn, which takes as long as 3 to 14 of them


@dataclass(frozen=True)
class KeptStrip:
    """A grid that was drawn: after which step, and its file, all images side by side."""

    step: int
    path: Path


def moments(steps: int, val_every: int) -> list[int]:
    """The validations, by step, after which images are drawn: the first at or after each moment."""
    return sorted({min(steps, math.ceil(share * steps / val_every) * val_every) for share in _MOMENTS})


def drawn_count(recipe: Recipe) -> int:
    """How many images each moment shows: up to 10, fewer in a short run, and none where that would cost much."""
    train = recipe.train
    learned = train.steps * train.global_batch_size // _LEARNED
    return min(_MOST, learned // len(moments(train.steps, train.val_every)))


def labels_of(cfg: ModelConfig, count: int) -> list[int] | None:
    """One class after the other; None where the model knows none."""
    return [number % cfg.classes for number in range(count)] if cfg.classes else None


def keep_samples(model: AIM, recipe: Recipe, run: Path, step: int) -> None:
    """Draw the images of this step into the run, where it is a moment; what goes wrong is a warning, not an end."""
    count = drawn_count(recipe) if generates(model) and not recipe.model.upscale else 0  # nothing is enlarged here
    if not count or step not in moments(recipe.train.steps, recipe.train.val_every):
        return
    training = model.training
    try:
        strip = side_by_side(_drawn(model, recipe, count))
        path = run / FOLDER / f"step_{step:08}.png"
        path.parent.mkdir(exist_ok=True)
        save_picture(strip, path)
    except (UserError, RuntimeError, OSError) as error:  # out of memory among them
        log.warning("step %d: no samples were drawn: %s", step, str(error).partition("\n")[0])
    finally:
        model.train(training)


def generates(model: AIM) -> bool:
    """Whether images can be sampled from such weights alone: those that enlarge images need some."""
    try:
        check_generates(model)
    except UserError:
        return False
    return not model.cfg.upscale


def _drawn(model: AIM, recipe: Recipe, count: int) -> UInt8[Tensor, "images channels height width"]:
    cfg = model.cfg
    config = SamplingConfig(guidance=GUIDANCE if cfg.classes else 1.0, steps=STEPS, batch_size=count)
    sampler = Sampler(model, *recipe.data.statistics(cfg.in_chans), config)
    [found] = sampler.sample(SEED, range(count), labels_of(cfg, count))  # one batch
    return found.images


def kept(run: Path) -> list[KeptStrip]:
    """The grids of a run in the order of their steps."""
    files = sorted((run / FOLDER).glob("step_*.png"))
    return [KeptStrip(int(path.stem.removeprefix("step_")), path) for path in files if path.stem[5:].isdecimal()]


def side_by_side(images: Sequence[Tensor] | UInt8[Tensor, "images channels height width"]) -> Image.Image:
    """All in one row, as colour or grey: of more than three channels the first three, of two the first."""
    row = torch.cat(list(images), dim=2)
    shown = row[:3] if len(row) >= 3 else row[:1]
    array = shown.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if len(shown) == 1 else array)
