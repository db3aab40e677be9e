"""What a run's values do not say, chosen from the images and the machine; every choice comes with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from nextpatch.config import ConfigError, from_dict, to_dict
from nextpatch.core.machine import usable_cores
from nextpatch.core.text import shown
from nextpatch.data.collection import Collection, open_collection
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import can_become
from nextpatch.data.error import DataError
from nextpatch.data.levels import advice
from nextpatch.data.loader import KEEP_BYTES
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.united import names_of
from nextpatch.data.survey import Survey, several, survey
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.mesh import mesh_shape
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Kernel
from nextpatch.model.count import count_params
from nextpatch.model.precision import resolve_device, resolve_precision
from nextpatch.runs.config import OptimConfig
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.tasks.pretrain.budget import clock
from nextpatch.tasks.pretrain.draft import Draft
from nextpatch.tasks.pretrain.memory import images_that_fit, largest_power_of_two, memory_bytes
from nextpatch.tasks.pretrain.sizes import dividing_patch, patch_for, sides_for
from nextpatch.tasks.pretrain.tokenizer import choose_by_tokenizer, tell_operations
from nextpatch.tasks.pretrain.warm_start import shaped_by_weights
from nextpatch.train.memory import Setting
from nextpatch.train.schedule import warmup_steps

EPOCHS, LEAST_SEEN, MOST_SEEN = 100, 100_000, 10_000_000
BATCH = 256
CPU_MICRO_TOKENS = 8192  # more at once are no faster on a CPU
VAL_IMAGES = 1024
STREAMS = 8


class PretrainPlan(NamedTuple):
    """A recipe with nothing left to choose, and a line "what: value (why)" per choice."""

    recipe: Recipe
    choices: list[str]


def resolve(given: dict[str, Any], ranks: Ranks = ALONE) -> PretrainPlan:
    """Fill in what `given`, the nested values of recipe and flags, leaves out or leaves open (0, -1 or "auto").

    The images are shared by as many ranks as `ranks` has.

    Reads the headers of a few images. Raises ConfigError for a wrong value, DataError for data that cannot be used.
    """
    given, said = shaped_by_weights(given)
    draft = Draft(given, ranks)
    draft.choices += said
    given_recipe = recipe_from_dict(draft.checkable())  # a wrong value is named before it is used below
    choose_by_tokenizer(draft)
    train = open_collection(given_recipe.data.train)
    images = survey(train.source, preprocessing=given_recipe.data.preprocessing)
    size = f"{images.median_height} x {images.median_width} px"
    draft.choices.append(f"images: {images.count:,} (median {size}, channels: {images.channels})")
    _choose_classes(draft, train)
    _choose_reading(draft, images, given_recipe.data)
    _choose_shape(draft, images)
    _choose_machine(draft)
    train_images = images.count - _choose_held_out(draft, images.count, train)
    _choose_batch(draft, train_images)
    _choose_length(draft, train_images)
    _choose_streams(draft, train)
    _choose_workers(draft, images)
    recipe = recipe_from_dict(draft.values)
    tell_operations(draft, recipe.model)
    return PretrainPlan(recipe, draft.choices)


def _choose_classes(draft: Draft, train: Collection) -> None:
    """Classes that the model is told of, by the labels of the images; nothing without `data.labels`."""
    if not draft.value("data", "labels", False):
        if draft.value("model", "classes", 0):
            raise ConfigError("model.classes needs the labels of the images: give --labels, which chooses it as well")
        return
    source = train.source
    names = names_of(source.sources if isinstance(source, JoinedSource) else (source,))
    if draft.open("data", "classes"):
        draft.values["data"]["classes"] = list(names)
    names = tuple(draft.values["data"]["classes"])
    draft.choose("model", "classes", len(names), f"the labels of the images: {_some(names)}")


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return shown(", ".join(names[:most])) + rest


def _choose_reading(draft: Draft, images: Survey, data: DataConfig) -> None:
    """The range of values that is seen, of images of more than 8 bits; a note where it, or a page, would be lost."""
    levels, chosen = images.levels, data.pixel_range
    if levels and not chosen and data.range_from != "type":
        chosen = levels.extremes() if data.range_from == "survey" else levels.percentiles()
        what = "the least and the greatest value" if data.range_from == "survey" else "without a thousandth at each end"
        draft.values["data"]["pixel_range"] = list(chosen)
        draft.choices.append(
            f"data.pixel_range: {chosen[0]:g} to {chosen[1]:g} ({what}, of {levels.images:,} images looked at)"
        )
    if said := advice(levels, chosen):
        if levels and "need a range" in said:
            raise DataError(f"{data.train[0]}: {said}")
        draft.choices.append(f"warning: {said}")
    if images.several and data.pages == "first":
        draft.choices.append(f"note: of the images looked at {several(images.several)}")


def _choose_shape(draft: Draft, images: Survey) -> None:
    """Channels, patch and image size."""
    channels = draft.choose("model", "in_chans", images.channels, "as the images have")
    others = [kind for kind in images.kinds if not can_become(kind, channels)]
    if others and len(others) == len(images.kinds):
        raise DataError(f"model.in_chans is {channels}, and the images have {others[-1]} channels; leave it out")
    if others:
        left_out = f"images of {', '.join(map(str, others))} channels cannot be given {channels} and are left out"
        draft.choices.append(f"note: {left_out}")
    elif channels != images.channels:
        draft.choices.append(f"note: the images have {images.channels} channels and are converted to {channels}")
    if not draft.open("model", "img_size"):
        draft.choose("model", "patch_size", dividing_patch(draft.value("model", "img_size", ())), "divides both sides")
        return
    sides, why = sides_for(images.median_height, images.median_width)
    patch = draft.choose("model", "patch_size", patch_for(min(sides)), f"the shorter side has {min(sides)} px")
    draft.choose("model", "img_size", tuple(max(1, side // patch) * patch for side in sides), why)


def _choose_machine(draft: Draft) -> None:
    """Device, number format, CPU threads."""
    device = resolve_device(draft.value("train", "device", "auto"))
    draft.choose("train", "device", device.type, "the fastest device here")
    precision = resolve_precision(draft.value("train", "precision", "auto"), device)
    native = "multiplies" if precision == "bf16" else "does not multiply"
    draft.choose("train", "precision", precision, f"this {device.type} {native} bfloat16 natively")
    ranks, cores, threads = draft.ranks.local_size, usable_cores(), torch.get_num_threads()
    if ranks > 1:
        draft.choose("train", "threads", max(1, cores // ranks), f"{cores} cores among {ranks} ranks")
    why = "PyTorch's default here" if threads <= cores else f"{cores} cores may be used"
    draft.choose("train", "threads", min(threads, cores), why)


def _choose_held_out(draft: Draft, count: int, train: Collection) -> int:
    """How many images measure the loss; returns how many of `count` are held out of training for it."""
    val = draft.value("data", "val", "")
    if not val and count < 2:
        name = shown(", ".join(from_dict(DataConfig, draft.values["data"]).train))
        raise DataError(f"{name} has one image; one to learn from and one to hold out are needed")
    share = len(open_source(val)) if val else _a_tenth(train)
    each = "each part" if len(train.parts) > 1 else "the images"
    why = f"at most {VAL_IMAGES:,}" + (", of data.val" if val else f" and a tenth of {each}, held out of training")
    held_out = draft.choose("data", "val_images", min(VAL_IMAGES, share), why)
    if not val and held_out >= count:
        raise ConfigError(f"data.val_images {held_out} leaves no image to learn from: there are only {count}; lower it")
    return 0 if val else int(held_out)


def _a_tenth(train: Collection) -> int:
    """So many images that no part of a mixture gives more than a tenth of its own, but one at least."""
    total = sum(train.weights)
    tenths = (
        max(1, int(part.shard_sizes.sum()) // 10) * total / weight
        for part, weight in zip(train.parts, train.weights, strict=True)
    )
    return max(1, int(min(tenths)))


def _choose_batch(draft: Draft, train_images: int) -> None:
    """Images per step, and how many of them at a time."""
    ranks = draft.ranks.size
    batch = min(largest_power_of_two(min(BATCH, max(8, train_images // 16))), train_images)
    few = "at least 8 images, or all of them" if train_images < 16 * 8 else "at least 16 steps per epoch"
    why = f"{few}; at most {BATCH} images"
    if ranks > 1:
        batch, why = max(1, batch // ranks) * ranks, f"{why}; the same share for each of {ranks} ranks"
    batch = draft.choose("train", "global_batch_size", batch, why)
    cfg = recipe_from_dict(draft.values).model
    draft.values["model"] |= to_dict(cfg.resolved())
    device = torch.device(draft.value("train", "device", "cpu"))
    available = memory_bytes(device) // (draft.ranks.local_size if device.type == "cpu" else 1)
    share = max(1, batch // ranks)
    most = min(share, largest_power_of_two(CPU_MICRO_TOKENS // cfg.num_patches)) if device.type == "cpu" else share
    fit = min(most, images_that_fit(cfg, available, _setting(draft, cfg, device, available), share))
    draft.choose("train", "micro_batch_size", fit, f"fits into {available / 2**30:.1f} GiB; does not change results")


def _setting(draft: Draft, cfg: ModelConfig, device: torch.device, available: int) -> Setting:
    """What decides on memory, as the run will be laid out."""
    engine, low = from_dict(EngineConfig, draft.values["engine"]), draft.value("train", "precision", "fp32") == "bf16"
    shard = mesh_shape(engine, draft.ranks, count_params(cfg).total, available).shard
    kernel: Kernel = "written out" if low and device.type == "cpu" else "fused"
    averages = bool(draft.value("train", "ema_half_life", 0.0))
    return Setting(
        2 if low else 4, shard, draft.ranks.spread, engine.activation_checkpointing, kernel, averages=averages
    )


def _choose_length(draft: Draft, train_images: int) -> None:
    """Steps, warm-up, and how often to look and to save."""
    if minutes := draft.value("train", "minutes", 0):
        if not draft.open("train", "steps"):
            raise ConfigError("train.steps and train.minutes both say how long the run is; give one of them")
        draft.choices.append(f"train.steps: as many as fit into {minutes:g} minutes, measured first")
        return
    batch = draft.value("train", "global_batch_size", 0)
    seen = max(train_images, min(max(EPOCHS * train_images, LEAST_SEEN), MOST_SEEN))
    rule = f"{EPOCHS} epochs, but {LEAST_SEEN:,} to {MOST_SEEN:,} images and at least one epoch"
    steps = draft.choose("train", "steps", -(-seen // batch), rule)
    optim = from_dict(OptimConfig, draft.values["optim"])
    warmup = warmup_steps(optim, steps)
    draft.choose("optim", "warmup_steps", warmup, "2.5 % of the run, as in the paper")
    every = clock(steps)
    why = "20 times a run, and at least every 1,000 steps"
    val_every = draft.choose("train", "val_every", every, why)
    draft.choose("train", "checkpoint_every", every, "at every validation" if val_every == every else why)


def _choose_streams(draft: Draft, train: Collection) -> None:
    """Places in the data that are read from side by side."""
    if train.source.random_access:
        draft.values["data"]["streams"] = 1  # of no effect
        return
    shards = len(train.source.shard_sizes)
    streams = max(1, min(STREAMS, shards // (2 * int(draft.value("data", "window", DataConfig.window)))))
    draft.choose("data", "streams", streams, f"{shards:,} shards, each best read as a whole")


def _choose_workers(draft: Draft, images: Survey) -> None:
    """Processes that decode."""
    pixels = images.count * images.channels * images.median_height * images.median_width
    if pixels <= KEEP_BYTES:
        draft.choose("data", "workers", 0, f"decoded once and kept in memory: {pixels / 2**20:.0f} MiB")
        return
    cores = max(1, usable_cores() // draft.ranks.local_size)
    busy = draft.value("train", "device", "cpu") == "cpu"
    workers = max(1, min(16, cores // 4 if busy else cores - 1))
    draft.choose("data", "workers", workers, f"{cores} cores, " + ("which also compute" if busy else "one for the GPU"))
