"""Everything about a study's runs that can be known before the first one starts, and refused where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

from nextpatch.config import ConfigError, dumps_toml, from_dict, to_dict
from nextpatch.core.errors import UserError
from nextpatch.core.files import digest_of_json
from nextpatch.data.splits import open_splits
from nextpatch.model.count import count_params
from nextpatch.objective.cost import train_step_flops
from nextpatch.runs.given import Values, laid_over, overlay
from nextpatch.runs.recipe import Recipe, binding, recipe_from_dict
from nextpatch.study.config import StudyConfig, Variant
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.pretrain.places import placed
from nextpatch.tasks.pretrain.plan import resolve
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tokenizer.config import FitOptions

_BUDGET = {
    "data": ("train", "val", "val_images", "streams", "window"),
    "train": ("steps", "global_batch_size"),
}  # which images, in which order, for how long
_CONFIGS: dict[str, Any] = {"probe": ProbeConfig, "finetune": FinetuneConfig}
_OURS = ("weights", "out", "seed", "step", "resume")  # of a measurement: the study says these
DIGITS = 10  # of a digest in a folder's name


@dataclass(frozen=True)
class Measurement:
    """One command that measures a run: "probe" or "finetune", its values with the seed, and their digest."""

    kind: str
    values: Values
    digest: str


@dataclass(frozen=True)
class PlannedRun:
    """One training with one seed, whichever variants share it, and all that is measured of it.

    `folder` is its name among the runs, `digest` that of all that decides what it learns.
    """

    folder: str
    digest: str
    seed: int
    recipe: Recipe
    flops: float
    measurements: tuple[Measurement, ...]


def recipes_of(
    study: StudyConfig, threads: int, known: Mapping[str, Recipe], tokenizers: Mapping[str, Path]
) -> dict[str, Recipe]:
    """The recipe of every variant with nothing left to choose, for seed 0; those `known` from before stay.

    A variant whose tokenizer is not there yet is checked with the base's target, and left out. Reads the headers of a
    few images. ConfigError or DataError names the variant that cannot be trained.
    """
    found = {
        variant.name: known.get(variant.name) or resolved(study, variant, threads, tokenizers)
        for variant in study.variants
    }
    _check_equal(study, found)
    waiting = [one.name for one in study.variants if one.tokenizer and not tokenizers[one.tokenizer].is_file()]
    return {
        variant.name: _with_tokenizer(found[variant.name], tokenizers.get(variant.tokenizer))
        for variant in study.variants
        if variant.name not in waiting
    }


def check_measurements(study: StudyConfig) -> None:
    """ConfigError for values that no probe, fine-tuning or tokenizer takes, DataError for labeled images that cannot be
    used, as those to test on that are among those to learn from."""
    for name, values in study.tokenizers.items():
        from_dict(FitOptions, values, f"tokenizers.{name}")
    opened: set[tuple[str, ...]] = set()
    for variant in study.variants:
        for kind, values in (("probe", study.probe_of(variant)), ("finetune", study.finetune_of(variant))):
            if not values:
                continue
            where = f"{kind} of variant '{variant.name}'"
            if ours := [name for name in _OURS if name in values]:
                raise ConfigError(f"{where}: {', '.join(ours)} is for the study to say; leave it out")
            config = from_dict(_CONFIGS[kind], {"weights": "run", "out": "out", **values}, where)
            if (images := (config.data, config.test, config.overlap)) not in opened:
                open_splits(*images[:2], seed=0, overlap=config.overlap)
                opened.add(images)


def runs_of(
    study: StudyConfig, recipes: Mapping[str, Recipe], folders: Mapping[str, str]
) -> dict[tuple[str, int], PlannedRun]:
    """The run of every variant and seed: the same one where all that decides what is learned is the same.

    Seed by seed, so that the first comparison is whole as early as it can be. `folders` are those of digests that have
    one already.
    """
    found: dict[tuple[str, int], PlannedRun] = {}
    runs: dict[str, PlannedRun] = {}
    for seed in study.seeds:
        for variant in study.variants:
            recipe = _seeded(recipes[variant.name], seed)
            digest = run_digest(recipe)
            folder = folders.get(digest, f"{variant.name}-s{seed}-{digest}")
            run = runs.get(digest) or PlannedRun(folder, digest, seed, recipe, run_flops(recipe), ())
            more = [one for one in measurements_of(study, variant, seed) if one not in run.measurements]
            runs[digest] = replace(run, measurements=(*run.measurements, *more))
            found[variant.name, seed] = runs[digest]
    return {key: runs[run.digest] for key, run in found.items()}


def measurements_of(study: StudyConfig, variant: Variant, seed: int) -> list[Measurement]:
    """What is measured of a variant: by the probe at the end, at earlier checkpoints, and by fine-tuning."""
    found = []
    if probe := study.probe_of(variant):
        found = [_measurement("probe", {**probe, "seed": seed, "step": step}) for step in (-1, *study.checkpoints)]
    if tuned := study.finetune_of(variant):
        found.append(_measurement("finetune", {**tuned, "seed": seed}))
    return found


def flags_of(values: Values) -> tuple[str, ...]:
    """Values of a task's config as its flags."""
    words: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, (list, tuple)) else [value])]
    return tuple(words)


def run_digest(recipe: Recipe) -> str:
    """A name for all that decides what a run learns: equal for runs that are the same, whoever asks for them."""
    return digest_of_json({**binding(recipe, places=True), "guard": to_dict(recipe.guard)})[:DIGITS]


def run_flops(recipe: Recipe) -> float:
    """Operations of the whole training."""
    return images_of(recipe) * train_step_flops(recipe.model, frozen_trunk=recipe.train.freeze_trunk)


def images_of(recipe: Recipe) -> int:
    """Images that the run learns from, repeated ones counted again."""
    return recipe.train.steps * recipe.train.global_batch_size


def size_of(recipe: Recipe) -> tuple[int, int, int]:
    """Parameters of the trunk, of the head and in all."""
    params = count_params(recipe.model)
    return params.trunk, params.head, params.total


def as_text(recipe: Recipe) -> str:
    """The recipe as a file."""
    return dumps_toml(to_dict(recipe))


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return replace(recipe, train=replace(recipe.train, seed=seed))


def _measurement(kind: str, values: Values) -> Measurement:
    return Measurement(kind, values, digest_of_json({"kind": kind, **values})[:DIGITS])


def resolved(study: StudyConfig, variant: Variant, threads: int, tokenizers: Mapping[str, Path]) -> Recipe:
    """The recipe of one variant, for seed 0; of one whose tokenizer is not there, with the base's target."""
    values = laid_over(_with_checkpoints(study), _of_codes(variant, tokenizers.get(variant.tokenizer)))
    train = values.get("train", {})
    try:
        if isinstance(train, dict) and train.get("minutes"):
            raise ConfigError("train.minutes are other steps on every machine; give train.steps")
        if not values.get("data", {}).get("train"):
            raise ConfigError("no images to learn from: give recipe.data.train")
        given = values if train.get("threads") else overlay(values, {"train": {"threads": threads}})
        recipe = recipe_from_dict(placed(to_dict(resolve(given).recipe)))
        _check_checkpoints(study, recipe)
        return recipe
    except UserError as error:
        raise type(error)(f"variant '{variant.name}': {error}") from None


def _of_codes(variant: Variant, tokenizer: Path | None) -> Values:
    """The values of a variant, with the codes of its tokenizer as the target where it has one."""
    if tokenizer is None:
        return variant.values
    if tokenizer.is_file():
        return overlay(variant.values, {"model": {"target": "tokens", "tokenizer": str(tokenizer)}})
    model = {name: value for name, value in variant.values.get("model", {}).items() if name != "target"}
    return {**variant.values, "model": model}


def _with_tokenizer(recipe: Recipe, tokenizer: Path | None) -> Recipe:
    """The recipe with its tokenizer where it lies now; that it is the same is for its digest to say."""
    if tokenizer is None:
        return recipe
    return replace(recipe, model=replace(recipe.model, tokenizer=str(tokenizer)))


def _with_checkpoints(study: StudyConfig) -> Values:
    """The base, with the checkpoints kept that are to be measured."""
    if not study.checkpoints:
        return study.recipe
    every = gcd(*study.checkpoints)
    return overlay({"train": {"checkpoint_every": every, "keep_every": every}}, study.recipe)


def _check_checkpoints(study: StudyConfig, recipe: Recipe) -> None:
    train = recipe.train
    for step in study.checkpoints:
        kept = train.keep_every and train.checkpoint_every
        if step < 1 or step > train.steps or not kept or step % train.keep_every or step % train.checkpoint_every:
            raise ConfigError(
                f"checkpoints: none of step {step} is kept of {train.steps} steps; leave train.checkpoint_every and "
                "train.keep_every out, or give numbers that divide it"
            )


def _check_equal(study: StudyConfig, recipes: Mapping[str, Recipe]) -> None:
    """ConfigError where variants are trained on other images, or for longer, and the study does not say why."""
    (first, one), *others = recipes.items()
    for name, other in others:
        differing = [
            f"{table}.{key}: {_of(one, table, key)} and {_of(other, table, key)}"
            for table, keys in _BUDGET.items()
            for key in keys
            if _of(one, table, key) != _of(other, table, key)
        ]
        if differing and not study.equal:
            raise ConfigError(
                f"variants '{first}' and '{name}' do not see the same images for the same number of steps "
                f"({'; '.join(differing)}); give them equal ones, or say in the study why they are comparable: "
                'equal = "..."'
            )


def _of(recipe: Recipe, table: str, key: str) -> Any:
    return getattr(getattr(recipe, table), key)
