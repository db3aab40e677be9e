"""How often a run sees each image, and what is known of whether that is too often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nextpatch.data.collection import Collection
from nextpatch.runs.recipe import Recipe

IMAGENET = 1_281_167  # images of ImageNet-1k, to which the paper's smallest model overfitted (Figure 5)
IMAGENET_PASSES = (
    1600  # 500,000 steps of 4096 (Table 10): as long as its other runs; the paper does not say it outright
)
DFN_PASSES = 2.5  # over 2 billion images: the paper's longest run (section 5.1), without overfitting


class Seen(NamedTuple):
    """A part of the data and how often a run shows each of its images, on average."""

    name: str
    images: int
    epochs: float


def seen(recipe: Recipe, data: Collection) -> list[Seen]:
    """For each part; `recipe` has its steps and batch settled. Images held out for validation are not subtracted."""
    shown, total = recipe.train.steps * recipe.train.global_batch_size, sum(data.weights)
    parts = zip(data.parts, data.weights, strict=True)
    return [Seen(part.name, len(part), shown * weight / total / len(part)) for part, weight in parts]


def verdict(parts: Sequence[Seen], smallest_crop: float) -> str:
    """Whether there are enough images, as far as the paper (arXiv 2401.08541, section 5.1) tells; no more."""
    images = sum(part.images for part in parts)
    epochs = sum(part.images * part.epochs for part in parts) / images
    if epochs <= 1:
        return "No image is seen twice, so there is nothing to overfit to."
    if epochs <= DFN_PASSES:
        return f"Enough, as far as is known: in the paper, {DFN_PASSES} passes over 2 billion images did not overfit."
    return f"{_known(images, epochs)} Watch the validation loss: once it rises, more steps do harm." + (
        " Crops of nearly the whole image overfit sooner; a lower data.crop_scale helps." if smallest_crop > 0.4 else ""
    )


def _known(images: int, epochs: float) -> str:
    """What follows for a run of many passes."""
    here = f"here each of {images:,} images is seen {epochs:,.0f} times"
    paper = (
        "the paper's smallest model (600M) overfitted to ImageNet-1k, 1.3 million images, in about "
        f"{IMAGENET_PASSES:,} passes"
    )
    if images > IMAGENET:
        return f"Not known: {paper}, and did not to 2 billion images; {here}."
    advice = "A smaller model overfits later. More images help, also unrelated images from the web."
    if epochs >= IMAGENET_PASSES:
        return f"Expect overfitting: {paper}; {here}. {advice}"
    return (
        f"Overfitting is possible, the sooner the fewer the images and the larger the model: {paper}; {here}. {advice}"
    )
