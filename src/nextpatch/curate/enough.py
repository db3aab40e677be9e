"""How often a run sees each image, and what is known of whether that is too often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nextpatch.data.collection import Collection
from nextpatch.train.recipe import Recipe

IMAGENET = 1_281_167  # images of ImageNet-1k, to which the paper's smallest model overfitted (Figure 5)
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
        return f"Enough, as far as is known: up to about {DFN_PASSES} passes over 2 billion images did not overfit."
    watch = "watch the validation loss: where it rises while the training loss falls, more steps do harm"
    if images > IMAGENET:
        return (
            "Not known: the paper's smallest model (600M) overfitted to the 1.3 million images of ImageNet-1k, and did "
            f"not to 2 billion; of collections between, seen {epochs:,.0f} times, it says nothing. So {watch}."
        )
    whole = " Crops of nearly the whole image make it worse; lower data.crop_scale." if smallest_crop > 0.4 else ""
    return (
        f"Expect overfitting: already 1.3 million images (ImageNet-1k) were too few for the paper's smallest model "
        f"(600M), and here each of {images:,} is seen {epochs:,.0f} times. A smaller model holds out longer, and "
        f"more images help, web images of any kind among them (the paper mixed such in). In any case {watch}.{whole}"
    )
