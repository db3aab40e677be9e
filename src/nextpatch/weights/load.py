"""`load`: weights by one name, whatever they are: released models, files, snapshots of the Hub, runs."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Layout
from nextpatch.model.config import InferenceAttention
from nextpatch.model.precision import device_of
from nextpatch.runs.export import FORMAT
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tokenizer.artifact import KEY
from nextpatch.tokenizer.tokenizer import FILE
from nextpatch.weights.assemble import (
    LoadOptions,
    of_export,
    of_model,
    of_released_names,
    with_classifier_head,
    with_labels,
    with_preprocessing,
)
from nextpatch.weights.backbone import NO_CAUSAL, Backbone
from nextpatch.weights.classifier import read_classifier_head
from nextpatch.weights.download import SNAPSHOT, fetched, fetched_if_there, first_fetched
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import backbone_of
from nextpatch.weights.from_timm import of_timm
from nextpatch.weights.from_torchhub import of_torchhub
from nextpatch.weights.from_transformers import of_transformers
from nextpatch.weights.layout import depth_of, probed_blocks
from nextpatch.weights.names import HUB, knows
from nextpatch.weights.pixel_head import PIXEL_HEAD, with_pixel_head
from nextpatch.weights.released import BEST_BY_WIDTH, LAST, PAIRS, Released, released
from nextpatch.weights.tensors import check_values, facts_of, joined, read_tensors
from nextpatch.weights.tokenizer import with_tokenizer, with_tokenizer_beside

KINDS = (
    "apple/aim-600M (-1B, -3B, -7B), OWNER/NAME of the Hub, a run, a folder with config.json, a .safetensors or .pth "
    "file, BACKBONE.pth+HEAD.pth, timm:NAME, hf:NAME or torchhub:REPOSITORY:ENTRY"
)
_ON_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_LIBRARIES = {"timm": of_timm, "hf": of_transformers, "torchhub": of_torchhub}
_FILES = (".pth", ".pt", ".bin", ".safetensors")
PIXEL_HEAD_FILE = "pixel_head.safetensors"
PROBE = "probe.safetensors"  # of a run: the classifier that its probe chose


def load(
    weights: str | os.PathLike[str],
    *,
    layers: str = "",
    img_size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    step: int | None = None,
    raw: bool = False,
    pixel_range: tuple[float, float] | None = None,
    layout: Layout | None = None,
    attention: InferenceAttention | None = None,
) -> Backbone:
    """The model that `weights` names, in evaluation mode; on a CPU its tensors are mapped from the file.

    `weights` is one of: "apple/aim-600M", -1B, -3B or -7B; "OWNER/NAME" or "OWNER/NAME@REVISION" of the Hub; the folder
    of such a snapshot; "BACKBONE.pth+HEAD.pth" as released, or the backbone alone; a .safetensors file; the directory
    of a run; "timm:NAME", "hf:NAME" or "torchhub:REPOSITORY:ENTRY" for models of other libraries. Any of ours may be
    followed by "+FILE", a pixel_head.safetensors or probe.safetensors that was fitted to it, or the tokenizer whose
    codes it predicts. What `nextpatch.pretrain` and `finetune` return stands for its weights.

    `layers` are the blocks that a feature averages: "14-19", "3", "2,3"; "last" (six); "best", for the released models
    those that were best on ImageNet, for a run those that its probe chose. Left out: those of the classifier that
    comes with the weights, else the last six. `img_size` is (height, width) in pixels where it shall be another than
    the weights were trained at; positions are computed for it. `pixel_range` and `layout` replace what the weights
    say of how files are read (see `Preprocessing`): released models know 8 bits only. `attention` is how features are
    computed, "bidirectional" or "causal", each patch from those before it in the model's order (Table 3d). Left out:
    that of the classifier that comes with the weights, else bidirectional; one of another attention, which could not
    read them, is left behind. `step` is that of a run's
    checkpoint (default: the newest), of which a run that averages its weights gives the averages; `raw`: those of the
    step itself. Raises WeightsError for what cannot be used.

    A "torchhub:" name runs the repository's code, after a question. A name that a file gives, and no person, must pass
    `names.from_file` first.
    """
    options, spec, where = LoadOptions(layers, img_size, step, raw, attention), os.fspath(weights), device_of(device)
    reading = {"pixel_range": pixel_range, "layout": layout}
    if not spec:
        raise WeightsError(f"no weights given; name {KINDS}")
    if step is not None and not RunDir.exists(Path(spec.partition("+")[0])) and not RunDir.exists(Path(spec)):
        raise WeightsError(f"{shown(spec)} is not a run, so it has no step {step}; leave the step out")
    if raw and not RunDir.exists(Path(spec.partition("+")[0])) and not RunDir.exists(Path(spec)):
        raise WeightsError(f"{shown(spec)} is not a run, so it has no other weights than these; leave raw out")
    found = _found(spec, options)
    found.about = with_preprocessing(found.about, {name: value for name, value in reading.items() if value is not None})
    return found.to(where)


def of_trunk(weights: str) -> str:
    """The `layers` to load weights with whose classifier is not wanted: none is fetched, and none has to fit."""
    return "" if released(weights) else "last"


def _found(spec: str, options: LoadOptions) -> Backbone:
    model, path = released(spec), Path(spec)
    if knows(spec):
        if options.attention == "causal":
            raise WeightsError(NO_CAUSAL.format(name=shown(spec)))
        prefix, _, name = spec.partition(":")
        return backbone_of(*_LIBRARIES[prefix](name, options.img_size), name=spec, layers=options.layers)
    if model is not None:
        return _of_release(model, options)
    if path.is_dir():
        return _of_run(path, options) if RunDir.exists(path) else _of_snapshot(path, options)
    parts = [spec] if path.exists() else spec.split("+")
    kind = _head_in(Path(parts[-1]), Path(parts[0]).suffix not in _FILES) if len(parts) > 1 else ""
    if kind == PROBE:
        base = "+".join(parts[:-1])
        return with_classifier_head(_found(base, replace(options, layers=of_trunk(base))), Path(parts[-1]), options)
    if kind == FILE:
        return with_tokenizer(_found("+".join(parts[:-1]), options), Path(parts[-1]))
    if kind:
        return with_pixel_head(_found("+".join(parts[:-1]), options), Path(parts[-1]))
    if path.exists() or path.suffix in _FILES:
        return _of_files([Path(part) for part in parts], options)
    if path.parent.is_dir() and str(path.parent) != "." and not spec.startswith(HUB):
        near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.4)
        advice = f"did you mean {path.parent / near[0]}?" if near else "look there for what you meant."
        raise WeightsError(
            f"{shown(spec)} does not exist; {shown(advice)} A model of the Hub by this name is {HUB}{shown(spec)}"
        )
    if _ON_THE_HUB.fullmatch(spec.removeprefix(HUB)):
        return _of_hub(spec.removeprefix(HUB), options)
    raise WeightsError(f"{shown(spec)} does not exist; give {KINDS}")


def _head_in(path: Path, no_file_before: bool) -> str:
    """Which head a file behind a "+" holds, by what it says of itself, then by its name; "" for a released pair."""
    facts = facts_of(path)
    if KEY in facts or path.name == FILE:
        return FILE
    if facts.get("format") == PIXEL_HEAD or path.name == PIXEL_HEAD_FILE:
        return PIXEL_HEAD_FILE
    if {"num_heads", "layers"} <= facts.keys() or path.name == PROBE:
        return PROBE
    return PIXEL_HEAD_FILE if no_file_before else ""


def _of_release(model: Released, options: LoadOptions) -> Backbone:
    """Of the Hub; "last" and "best" take the attention head of these layers when the snapshot has another."""
    config = _config(fetched(model.hub, "config.json"))
    state, _ = read_tensors(first_fetched(model.hub, SNAPSHOT))
    depth = depth_of(state)
    wanted = {"best": model.best, "last": tuple(range(depth - LAST, depth))}.get(options.layers)
    if wanted is not None and tuple(probed_blocks(config, depth)) != wanted:
        head, _ = read_tensors(fetched(PAIRS, model.head_file(options.layers)))
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")} | head
        config["probe_layers"] = list(wanted)
    return of_released_names(state, config, model.hub, options)


def _of_hub(spec: str, options: LoadOptions) -> Backbone:
    repo, _, revision = spec.partition("@")
    config = _config(fetched(repo, "config.json", revision or None))
    state, facts = read_tensors(first_fetched(repo, SNAPSHOT, revision or None))
    if facts.get("format") != FORMAT:
        return of_released_names(state, config, spec, options)
    found = of_export(state, facts, spec, options)
    head = fetched_if_there(repo, PIXEL_HEAD_FILE, revision or None)
    if head is not None and found.aim.cfg.target == "tokens":
        fetched_if_there(repo, FILE, revision or None)  # to where the head is
    return with_pixel_head(found, head) if head is not None else found


def _of_snapshot(folder: Path, options: LoadOptions) -> Backbone:
    file = next((folder / name for name in SNAPSHOT if (folder / name).is_file()), None)
    if file is None or not (folder / "config.json").is_file():
        inner = next((folder / name for name in ("model", "adapter") if (folder / name / SNAPSHOT[0]).is_file()), None)
        raise WeightsError(
            f"{shown(folder)} is neither a run (recipe.toml) nor a snapshot (config.json and {SNAPSHOT[0]})"
            + (f"; its weights are {shown(inner)}: give that" if inner else "")
        )
    state, facts = read_tensors(file)
    if facts.get("format") == FORMAT:
        found = of_export(state, facts, str(folder), options)
    else:
        found = of_released_names(state, _config(folder / "config.json"), str(folder), options)
    head = folder / PIXEL_HEAD_FILE
    return with_pixel_head(found, head) if head.exists() else found


def _of_files(paths: list[Path], options: LoadOptions) -> Backbone:
    """A file of ours, or the released pair; the name of a head's file says which layers it reads."""
    name = "+".join(map(str, paths))
    parts = [(path, read_tensors(path)) for path in paths]
    state, facts = joined([(path, found) for path, (found, _) in parts]), parts[0][1][1]
    if facts.get("format") == FORMAT:
        return with_tokenizer_beside(of_export(state, facts, name, options), paths[0].parent)
    config: dict[str, Any] = {}
    if any("best_layers" in path.name for path in paths):
        norm = state.get("trunk.post_trunk_norm.weight")
        best = BEST_BY_WIDTH.get(0 if norm is None else len(norm))
        if best is None:
            raise WeightsError(
                f"{shown(name)}: which layers the head reads is not known for this width; rename it, and name them"
            )
        config["probe_layers"] = list(best)
    return of_released_names(state, config, name, options)


def _of_run(path: Path, options: LoadOptions) -> Backbone:
    """With the probe's classifier and layers, when it was probed."""
    loaded = load_run(path, step=options.step, raw=options.raw)
    check_values(loaded.model.state_dict(), path)
    classifier_head = read_classifier_head(path / PROBE) if (path / PROBE).exists() else None
    statistics = loaded.recipe.data.statistics(loaded.recipe.model.in_chans)
    found = of_model(loaded.model, str(path), options, classifier_head, statistics, loaded.recipe.data.preprocessing)
    return with_labels(found, loaded.recipe.data.classes)


def _config(path: Path) -> dict[str, Any]:
    """config.json of a snapshot: plain values, some of them wrapped once more by older libraries."""
    values = read_json(path, "a model's config", "get it again", WeightsError)
    inner = values.get("config")
    return dict(inner) if isinstance(inner, dict) else values
