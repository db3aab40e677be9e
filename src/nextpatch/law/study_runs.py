"""Runs of a study as a law counts them: only those at the end of their schedules; what is left out is named."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nextpatch.core.errors import UserError
from nextpatch.core.text import shown
from nextpatch.data.collection import open_collection
from nextpatch.measure.study_result import VAL_LOSS, SeedRun, StudyResult, VariantResult
from nextpatch.objective.cost import expected_scored
from nextpatch.runs.recipe import Recipe
from nextpatch.scaling.law import LeftOut
from nextpatch.scaling.run_end import RunEnd
from nextpatch.study.comparison import comparable_losses
from nextpatch.study.kept import read_failures
from nextpatch.study.ready import as_it_is

_PROBES = ("attentive", "linear", "logistic", "knn")  # whose error is taken: the first that was measured


class StudyRuns(NamedTuple):
    """The runs that a law is fitted to, those that are left out, and what the study is about."""

    ends: list[RunEnd]
    left_out: list[LeftOut]
    title: str
    about: str


def runs_of_study(out: Path, train_images: int = 0) -> StudyRuns:
    """Of the study in a folder. `train_images` are the different images that its runs learn from, where the images
    themselves are not at hand. UserError where there is no study, or its losses are of different things."""
    ready = as_it_is(out.absolute())
    if ready is None:
        raise UserError(
            f"{shown(out)} is neither a CSV file nor the folder of a study; begin one with: nextpatch study"
        )
    result, recipes = ready.result(read_failures(ready.layout)), ready.settled.recipes
    if not comparable_losses(result):
        raise UserError(f"{shown(out)}: its variants predict different things, so their losses follow no common law")
    ends, left_out = [], []
    probe = next((name for name in _PROBES if name in result.metrics), "")
    for variant in result.variants:
        images = train_images or _images(recipes.get(variant.name))
        for run in variant.runs:
            recipe = recipes.get(variant.name)
            if reason := _unusable(variant, run, recipe):
                left_out.append(LeftOut(f"{variant.name} seed {run.seed}", reason))
            elif recipe is not None:
                ends.append(_end(variant, run, recipe, images, probe))
    return StudyRuns(ends, left_out, result.title, _about(result, recipes, probe))


def _unusable(variant: VariantResult, run: SeedRun, recipe: Recipe | None) -> str:
    """Why a run is in no fit; empty of one that is."""
    if recipe is None or VAL_LOSS not in run.figures:
        return run.reason.partition("\n")[0] or (
            f"at step {run.step:,} of {variant.steps:,}" if run.step else run.status
        )
    if run.step != variant.steps:
        return f"at step {run.step:,} of {variant.steps:,}: not at the end of its schedule"
    if recipe.train.init or recipe.train.freeze_trunk:
        return "it began from other weights"
    return ""


def _end(variant: VariantResult, run: SeedRun, recipe: Recipe, images: int | None, probe: str) -> RunEnd:
    accuracy = run.figures.get(probe)
    return RunEnd(
        name=variant.name, seed=run.seed, params_trunk=variant.params_trunk, params_head=variant.params_head,
        images=float(run.images), patches_per_image=float(recipe.model.num_patches),
        scored_per_image=expected_scored(recipe.model), flops=variant.flops, loss=run.figures[VAL_LOSS],
        error=None if accuracy is None else 100.0 - accuracy, train_images=images,
    )  # fmt: skip


def _images(recipe: Recipe | None) -> int | None:
    """Different images that a run learns from; None where they are not at hand."""
    if recipe is None:
        return None
    try:
        number = len(open_collection(recipe.data.train).source)
    except (UserError, OSError):
        return None
    return number - (0 if recipe.data.val else recipe.data.val_images)


def _about(result: StudyResult, recipes: dict[str, Recipe], probe: str) -> str:
    """What the losses are of, in words."""
    if not recipes:
        return ""
    recipe = next(iter(recipes.values()))
    height, width = recipe.model.img_size
    images = ", ".join(recipe.data.train)
    error = f"; error of the {probe} probe" if probe else ""
    return (
        f"validation loss on {recipe.data.val or f'held-out images of {images}'} of models trained on {images}, "
        f"{height} x {width} px in patches of {recipe.model.patch_size}, {len(result.seeds)} seeds{error}"
    )
