"""From tensors and what is known of them to a `Backbone`: nothing is copied, position tables are computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextpatch.config import from_dict
from nextpatch.data.config import DataConfig
from nextpatch.data.preprocessing import AS_OURS, AS_RELEASED, Preprocessing
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig, Target
from nextpatch.model.layer_sets import blocks_named, last_blocks
from nextpatch.model.weights import from_released, to_released
from nextpatch.patches import sincos_positions
from nextpatch.train.checkpoint import save_tensors, sync
from nextpatch.weights.backbone import About, Backbone
from nextpatch.weights.classifier import Readout, classifier_of, read_readout
from nextpatch.weights.error import WeightsError
from nextpatch.weights.layout import has_pixel_head, model_config, pixel_head_shape, probed_blocks
from nextpatch.weights.released import BEST_BY_WIDTH
from nextpatch.weights.tensors import joined, read_tensors

_IMAGENET = 1000
PIXEL_HEAD = "nextpatch-pixel-head-1"
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std per channel; empty: the default


@dataclass(frozen=True)
class Asked:
    """What the caller wants otherwise than the weights say: layers to read, image size."""

    layers: str = ""
    img_size: tuple[int, int] | None = None
    step: int | None = None


def of_released_names(state: Mapping[str, Tensor], config: Mapping[str, Any], name: str, asked: Asked) -> Backbone:
    """Of tensors with the released names; `config` is what a snapshot's config.json says."""
    cfg = model_config(state, config, name)
    layers = [f"block_{block}" for block in probed_blocks(config, cfg.shape.depth)]
    readout, ours = _readout_in(from_released(state), cfg, layers, config.get("classes", ()))
    statistics = tuple(config.get("mean", ())), tuple(config.get("std", ()))
    return of_model(_aim(cfg, ours, name), name, asked, readout, statistics, AS_RELEASED)


def of_export(paths: Sequence[Path], facts: Mapping[str, str], asked: Asked) -> Backbone:
    """Of a file that `export_model` wrote, with a fitted pixel head beside it where a second file is given."""
    name = "+".join(map(str, paths))
    cfg = from_dict(ModelConfig, json.loads(facts["model"]))
    state = joined([(path, read_tensors(path)[0]) for path in paths])
    ours = from_released(state) if facts["layout"] == "released" else state
    layers, classes, mean, std = (json.loads(facts.get(key, "[]")) for key in ("layers", "classes", "mean", "std"))
    readout, ours = _readout_in(ours, cfg, layers, classes)
    preprocessing = from_dict(Preprocessing, json.loads(facts.get("preprocessing", "{}")))
    return of_model(_aim(cfg, ours, name), name, asked, readout, (tuple(mean), tuple(std)), preprocessing)


def of_model(
    model: AIM,
    name: str,
    asked: Asked,
    readout: Readout | None,
    statistics: Statistics,
    preprocessing: Preprocessing = AS_OURS,
) -> Backbone:
    """Of a model, read as asked; a classifier of other layers than those is left out."""
    if asked.img_size is not None:
        _resize(model, asked.img_size)
    cfg = model.cfg
    chosen = _chosen(asked.layers, cfg, name, readout)
    readout = readout if readout is not None and readout.layers == chosen else None
    mean, std = statistics if statistics[0] else DataConfig().statistics(cfg.in_chans)
    shape = cfg.shape
    about = About(
        name, cfg.img_size, cfg.in_chans, mean, std, shape.embed_dim, shape.num_heads, chosen, cfg.num_patches,
        preprocessing,
    )  # fmt: skip
    return Backbone(model, about, readout)


def with_pixel_head(backbone: Backbone, path: Path) -> Backbone:
    """The same weights with the pixel head of a file of `save_pixel_head`; WeightsError when it does not fit."""
    model, (state, facts) = backbone.aim, read_tensors(path)
    if facts.get("format") != PIXEL_HEAD or not has_pixel_head(state):
        raise WeightsError(f"{path} holds no pixel head; nextpatch fit-head writes one")
    width, depth = pixel_head_shape(state)
    target: Target = "pixels" if facts.get("target") == "pixels" else "norm_pixels"
    cfg = replace(model.cfg, head_width=width, head_depth=depth, target=target)
    both = {name: t for name, t in model.state_dict().items() if not name.startswith("head.")} | from_released(state)
    backbone.trunk = _aim(cfg, both, f"{backbone.about.name}+{path}").to(backbone.device).eval()
    return backbone


def with_readout(backbone: Backbone, path: Path, asked: Asked) -> Backbone:
    """The same weights with a probe's classifier and its layers; WeightsError when it is of another width."""
    readout, about = read_readout(path), backbone.about
    if readout.classifier.linear.in_features != about.dim or not set(readout.layers) <= set(backbone.layer_names()):
        raise WeightsError(f"{path} is the probe of another model than {about.name}; probe this one")
    if asked.layers and tuple(blocks_named(asked.layers, len(backbone.blocks))) != readout.layers:
        return Backbone(backbone.trunk, replace(about, layers=tuple(blocks_named(asked.layers, len(backbone.blocks)))))
    return Backbone(backbone.trunk, replace(about, name=f"{about.name}+{path}", layers=readout.layers), readout)


def save_pixel_head(path: Path, model: AIM) -> None:
    """The pixel head alone, under the names of the released layout; an existing file is replaced in one step."""
    state = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    aside = path.with_name(f".{path.name}.unfinished")
    save_tensors(aside, to_released(state, model.cfg), {"format": PIXEL_HEAD, "target": model.cfg.target})
    sync(aside)
    aside.replace(path)


def _readout_in(
    state: Mapping[str, Tensor], cfg: ModelConfig, layers: Sequence[str], classes: Sequence[str]
) -> tuple[Readout | None, dict[str, Tensor]]:
    """(the classifier among tensors with our names, the other tensors)."""
    own = {name.removeprefix("attentive."): t for name, t in state.items() if name.startswith("attentive.")}
    rest = {name: t for name, t in state.items() if not name.startswith("attentive.")}
    if not own:
        return None, rest
    classifier = classifier_of(own, cfg.shape.num_heads)
    if not classes and classifier.linear.out_features == _IMAGENET:
        classes = imagenet_classes()
    return Readout(classifier, tuple(layers or last_blocks(cfg.shape.depth)), tuple(classes)), rest


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, in their order; torchvision brings them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _aim(cfg: ModelConfig, state: Mapping[str, Tensor], name: str) -> AIM:
    """The model around the tensors as they are."""
    with torch.device("meta"):
        model = AIM(cfg, pixel_head=any(key.startswith("head.") for key in state))
    try:
        missing, unexpected = model.load_state_dict(dict(state), strict=False, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{name}: {' '.join(str(error).split())}; is it of another model?") from None
    if missing or unexpected:
        what = f"lacks {', '.join(missing[:3])}" if missing else f"has {', '.join(unexpected[:3])}, which no AIM v1 has"
        raise WeightsError(f"{name} {what}; is the file whole, and of this model?")
    _put_positions(model)
    return model


def _resize(model: AIM, img_size: tuple[int, int]) -> None:
    model.cfg = replace(model.cfg, img_size=img_size)
    _put_positions(model)


def _put_positions(model: AIM) -> None:
    for part, width in ((model.patch_embed, model.cfg.shape.embed_dim), (model.head, model.cfg.shape.head_width)):
        if hasattr(part, "positions"):
            part.positions = sincos_positions(model.cfg.grid, width)


def _chosen(layers: str, cfg: ModelConfig, name: str, readout: Readout | None) -> tuple[str, ...]:
    depth = cfg.shape.depth
    if layers == "last":
        return tuple(last_blocks(depth))
    if layers == "best":
        best = BEST_BY_WIDTH.get(cfg.shape.embed_dim)
        if readout is not None:
            return readout.layers
        if best is None:
            raise WeightsError(
                f"{name}: which layers are best is not known yet; nextpatch probe finds it, or name them"
            )
        return tuple(f"block_{block}" for block in best)
    if layers:
        return tuple(blocks_named(layers, depth))
    return readout.layers if readout is not None else tuple(last_blocks(depth))
