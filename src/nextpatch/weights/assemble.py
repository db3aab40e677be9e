"""From tensors and what is known of them to a `Backbone`: nothing is copied, position tables are computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nextpatch.config import from_dict
from nextpatch.core.text import shown
from nextpatch.data.config import DataConfig
from nextpatch.data.preprocessing import AS_OURS, AS_RELEASED, Preprocessing
from nextpatch.model.aim import AIM
from nextpatch.model.config import InferenceAttention, ModelConfig
from nextpatch.model.layer_sets import blocks_named, last_blocks
from nextpatch.model.weights import from_released
from nextpatch.weights.backbone import Backbone, ModelInfo
from nextpatch.weights.build import build_aim, naming_file
from nextpatch.weights.classifier import (
    ClassifierHead,
    attention_in,
    classifier_of,
    mark_of,
    read_classifier_head,
    texts,
)
from nextpatch.weights.error import WeightsError
from nextpatch.weights.layout import model_config, probed_blocks
from nextpatch.weights.released import BEST_BY_WIDTH

_IMAGENET = 1000
_OF_OTHERS = (
    "{probe} was fitted to other weights than {name}: of another step, or of another model. Measure these weights "
    "(nextpatch probe), take the step that was probed, or name the blocks to read (--layers) and use no classifier"
)
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std per channel; empty: the default


@dataclass(frozen=True)
class LoadOptions:
    """What the caller wants otherwise than the weights say: layers to read, image size, attention; of a run, the step,
    and its raw weights where it has averaged ones."""

    layers: str = ""
    img_size: tuple[int, int] | None = None
    step: int | None = None
    raw: bool = False
    attention: InferenceAttention | None = None


def of_released_names(
    state: Mapping[str, Tensor], config: Mapping[str, Any], name: str, options: LoadOptions
) -> Backbone:
    """Of tensors with the released names; `config` is what a snapshot's config.json says."""
    with naming_file(name):
        cfg = model_config(state, config, name)
        layers = [f"block_{block}" for block in probed_blocks(config, cfg.shape.depth)]
        classes = texts(json.dumps(config.get("classes", [])))
        statistics = _numbers(config.get("mean", [])), _numbers(config.get("std", []))
        head, ours = _classifier_head_in(from_released(state), cfg, layers, classes, config.get("probe_heads", 0))
    return of_model(build_aim(cfg, ours, name), name, options, head, statistics, AS_RELEASED)


def of_export(state: Mapping[str, Tensor], facts: Mapping[str, str], name: str, options: LoadOptions) -> Backbone:
    """Of the tensors and the metadata of a file that `export_model` or `save_snapshot` wrote."""
    with naming_file(name):
        cfg = from_dict(ModelConfig, _json(facts["model"]), f"{shown(name)}, model")
        layers, classes = (texts(facts.get(key, "[]")) for key in ("layers", "classes"))
        mean, std = (_numbers(_json(facts.get(key, "[]"))) for key in ("mean", "std"))
        preprocessing = from_dict(
            Preprocessing, _json(facts.get("preprocessing", "{}")), f"{shown(name)}, preprocessing"
        )
        ours = from_released(state) if facts["layout"] == "released" else dict(state)
        head, ours = _classifier_head_in(ours, cfg, layers, classes, _json(facts.get("probe_heads", "0")))
        labels = texts(facts.get("labels", "[]"))
        if options.attention is None and "attention" in facts:
            options = replace(options, attention=attention_in(facts))
    return with_labels(of_model(build_aim(cfg, ours, name), name, options, head, (mean, std), preprocessing), labels)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError(f"{str(values)[:40]!r} is not a list of numbers")
    return tuple(map(float, values))


def of_model(
    model: AIM,
    name: str,
    options: LoadOptions,
    head: ClassifierHead | None,
    statistics: Statistics,
    preprocessing: Preprocessing = AS_OURS,
) -> Backbone:
    """Of a model, read as asked; a classifier of other layers or another attention than asked for is left out.

    WeightsError when the classifier was fitted to another trunk and no layers are asked for.
    """
    head = _fitting(model, name, options, head)
    if bool(statistics[0]) != bool(statistics[1]):
        raise WeightsError(
            f"{shown(name)} says the mean or the deviation of its pixels, and not both; download it again"
        )
    if options.img_size is not None:
        model.resize(options.img_size)
    cfg = model.cfg
    chosen = _chosen(options, cfg, name, head)
    head = head if head is not None and head.layers == chosen else None
    mean, std = statistics if statistics[0] else DataConfig().statistics(cfg.in_chans)
    shape = cfg.shape
    attention = options.attention or (head.attention if head is not None else "bidirectional")
    about = ModelInfo(
        name, cfg.img_size, cfg.in_chans, mean, std, shape.embed_dim, shape.num_heads, chosen, cfg.num_patches,
        preprocessing, attention, upscale=cfg.upscale,
    )  # fmt: skip
    return Backbone(model, about, head)


def with_labels(backbone: Backbone, labels: Sequence[str]) -> Backbone:
    """The same with the names of the classes that it was told of; WeightsError if it was told of others."""
    if labels and len(labels) != backbone.aim.cfg.classes:
        raise WeightsError(
            f"{shown(backbone.about.name)} names {len(labels):,} classes and knows {backbone.aim.cfg.classes:,}; is "
            "the file whole?"
        )
    backbone.about = replace(backbone.about, labels=tuple(labels))
    return backbone


def with_preprocessing(about: ModelInfo, given: Mapping[str, Any]) -> ModelInfo:
    """The same weights with other values of `Preprocessing`; ConfigError for what are none."""
    return replace(about, preprocessing=replace(about.preprocessing, **given)) if given else about


def with_classifier_head(backbone: Backbone, path: Path, options: LoadOptions) -> Backbone:
    """The same weights with a probe's classifier and its layers; WeightsError when it is of another width."""
    head, about = read_classifier_head(path), backbone.about
    if head.classifier.linear.in_features != about.dim or not set(head.layers) <= set(backbone.layer_names()):
        raise WeightsError(f"{shown(path)} is the probe of another model than {shown(about.name)}; probe this one")
    if options.layers and tuple(blocks_named(options.layers, len(backbone.blocks))) != head.layers:
        return Backbone(
            backbone.trunk, replace(about, layers=tuple(blocks_named(options.layers, len(backbone.blocks))))
        )
    if head.trunk and head.trunk != mark_of(backbone.trunk):
        raise WeightsError(_OF_OTHERS.format(probe=shown(path), name=shown(about.name)))
    if options.attention not in (None, head.attention):
        raise WeightsError(
            f"{shown(path)} was fitted to features of {head.attention} attention; leave the attention out, or give the "
            "weights without it"
        )
    about = _as_probed(backbone, head, options)
    return Backbone(backbone.trunk, replace(about, name=f"{about.name}+{path}", layers=head.layers), head)


def _as_probed(backbone: Backbone, head: ClassifierHead, options: LoadOptions) -> ModelInfo:
    """Images are seen as they were when the probe was fitted, but for the size that is asked for."""
    about, model = replace(backbone.about, attention=head.attention), backbone.aim
    if head.preprocessing is not None:
        about = replace(about, preprocessing=head.preprocessing)
    if head.img_size is None or options.img_size is not None:
        return about
    model.resize(head.img_size)
    return replace(about, img_size=model.cfg.img_size, num_patches=model.cfg.num_patches)


def _fitting(model: AIM, name: str, options: LoadOptions, head: ClassifierHead | None) -> ClassifierHead | None:
    """The classifier, when it is of these weights and reads them with the attention that is asked for; without it
    where layers are asked for, since it is not needed."""
    blocks = {f"block_{block}" for block in range(model.cfg.shape.depth)}
    if head is not None and not set(head.layers) <= blocks:
        raise WeightsError(f"{shown(name)}: its classifier reads {shown(', '.join(head.layers))[:80]}, not there")
    if head is not None and options.attention not in (None, head.attention):
        return None
    if head is None or not head.trunk or head.trunk == mark_of(model):
        return head
    if options.layers not in ("", "best"):
        return None
    raise WeightsError(_OF_OTHERS.format(probe="its probe", name=shown(name)))


def _classifier_head_in(
    state: Mapping[str, Tensor], cfg: ModelConfig, layers: Sequence[str], classes: Sequence[str], heads: Any
) -> tuple[ClassifierHead | None, dict[str, Tensor]]:
    """(the classifier among tensors with our names, the other tensors). It has the trunk's heads where `heads` is 0.

    ValueError for `heads` that are no number.
    """
    own = {name.removeprefix("attentive."): t for name, t in state.items() if name.startswith("attentive.")}
    rest = {name: t for name, t in state.items() if not name.startswith("attentive.")}
    if not own:
        return None, rest
    if type(heads) is not int:
        raise ValueError("probe_heads is not a whole number")
    classifier = classifier_of(own, heads or cfg.shape.num_heads)
    if not classes and classifier.linear.out_features == _IMAGENET:
        classes = imagenet_classes()
    return ClassifierHead(classifier, tuple(layers or last_blocks(cfg.shape.depth)), tuple(classes)), rest


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, in their order; torchvision brings them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _chosen(options: LoadOptions, cfg: ModelConfig, name: str, head: ClassifierHead | None) -> tuple[str, ...]:
    depth, layers = cfg.shape.depth, options.layers
    if layers == "last":
        return tuple(last_blocks(depth))
    if layers == "best":
        best = BEST_BY_WIDTH.get(cfg.shape.embed_dim)
        if head is not None:
            return head.layers
        if best is None or options.attention == "causal":  # those of the released models are bidirectional ones
            how = "" if options.attention is None else f" with {options.attention} attention"
            raise WeightsError(
                f"{name}: which layers are best{how} is not known yet; nextpatch probe finds it, or name them"
            )
        return tuple(f"block_{block}" for block in best)
    if layers:
        return tuple(blocks_named(layers, depth))
    return head.layers if head is not None else tuple(last_blocks(depth))
