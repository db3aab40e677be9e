"""Where a run begins: at random weights, or at given ones, whose shape it then has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.text import shown
from nextpatch.dist.materialize import put
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import DISTRIBUTIONS
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load, of_trunk
from nextpatch.weights.names import from_file, knows

_TRUNK = ("size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads")
_HEAD = ("head", "head_width", "head_depth", "target")
_PARTS = {
    "start.token": "the start token",
    "start.classes": "the embedding of the classes",
    "start.next_place": "the map of the place that comes next",
    "start.low_res.to_": "the maps of the low-resolution image",
    "mask_token.": "the mask token",
    "head.": "the head",
    "paper_head.": "the paper's head beside it",
}


def shaped_by_weights(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(`given` with the shape of the weights that `train.init` names, a line for each choice); ConfigError where they
    disagree. The image size may be another, since positions are computed; so may mean and std; and where a run is to
    generate with another head, the head begins at random.
    """
    init = given.get("train", {}).get("init", "")
    if not init:
        return given, []
    backbone = _loaded(init)
    cfg, about = backbone.aim.cfg, backbone.about
    model = dict(given.get("model", {}))
    predicts = backbone.aim.head.predicts and not _has_other_head(model, cfg)
    fixed = _TRUNK + (_HEAD if predicts else ())
    values = to_dict(cfg.resolved())
    if predicts and cfg.target == "tokens":
        fixed += ("codes", "tokenizer_sha256")
        model["tokenizer"] = model.get("tokenizer") or cfg.tokenizer
    for name in fixed:
        if model.get(name) not in (None, 0, "", values[name]):
            raise ConfigError(f"model.{name} {model[name]} is not that of {init}, {values[name]}; leave it out")
        model[name] = values[name]
    model.setdefault("img_size", values["img_size"])
    data = {"mean": list(about.mean), "std": list(about.std), **given.get("data", {})}
    said = f"model: width {cfg.shape.embed_dim}, {cfg.shape.depth} blocks (of {init})"
    why = "it has none" if not backbone.aim.head.predicts else "it has another"
    head = "" if predicts else f"; its pixel head begins at random: {why}"
    return {**given, "model": model, "data": data}, [said + head]


def _has_other_head(model: dict[str, Any], cfg: ModelConfig) -> bool:
    """Whether these values ask for a head that generates, and the weights have another."""
    head = model.get("head", cfg.head)
    if head in DISTRIBUTIONS:
        return bool(head != cfg.head)
    return model.get("objective") == "generate" and (cfg.objective != "generate" or cfg.head in DISTRIBUTIONS)


@torch.no_grad()
def begin_from(model: AIM, init: str) -> list[str]:
    """Put the weights that `init` names into `model`, which may be spread over ranks; what they lack stays as it is.

    Every rank maps the file and takes its part; nothing travels. Returns what they lack, in words.
    """
    source = _loaded(init, model.cfg.img_size).aim
    given: dict[str, Tensor] = dict(source.state_dict())
    if (source.cfg.head, source.cfg.target) != (model.cfg.head, model.cfg.target):
        given = {name: tensor for name, tensor in given.items() if not name.startswith("head.")}
    if model.paper_head is not None and _has_papers_head(source, model.cfg):
        given |= {f"paper_{name}": tensor for name, tensor in source.state_dict().items() if name.startswith("head.")}
    if source.cfg.classes != model.cfg.classes:
        given.pop("start.classes", None)
    for name in ("start.low_res.mean", "start.low_res.deviation"):  # of the data that is learned from now
        given.pop(name, None)
    if model.mask_token is not None and source.mask_token is None and not model.mask_token.token.requires_grad:
        raise ConfigError(
            f"{init} has no mask token, and with train.freeze_trunk none is learned; choose the objective next_patch, "
            "or let the trunk learn"
        )
    own = model.state_dict()
    for name in own.keys() & given.keys():
        if given[name].shape != own[name].shape:
            raise ConfigError(f"{init}: {name} is {tuple(given[name].shape)}, the recipe's {tuple(own[name].shape)}")
        put(own[name], given[name])
    return [words for prefix, words in _PARTS.items() if any(name.startswith(prefix) for name in own.keys() - given)]


def _has_papers_head(source: AIM, cfg: ModelConfig) -> bool:
    """Whether the head of these weights is that of the paper, and as large as that of a model beside its own."""
    theirs, ours = source.cfg.shape, cfg.shape
    alike = (theirs.head_width, theirs.head_depth) == (ours.head_width, ours.head_depth)
    return source.head.predicts and (source.cfg.head, source.cfg.target) == ("mlp", "norm_pixels") and alike


def _loaded(init: str, img_size: tuple[int, int] | None = None) -> Backbone:
    """The weights, without a classifier. A recipe must not choose a program, and no other library has an AIM."""
    if isinstance(init, str) and knows(init):
        raise ConfigError(
            f"train.init {shown(init)} is a model of another library; a run begins with weights of an AIM"
        )
    return load(from_file(init, "train.init"), layers=of_trunk(init), img_size=img_size)


def freeze_trunk(model: AIM) -> None:
    """Keep patch embedding, trunk and mask token as they are: the head learns, and the start token where there is one,
    with what it is told, which the trunk need not have met.
    """
    for part in (model.patch_embed, model.trunk, model.mask_token):
        if part is not None:
            part.requires_grad_(False)


def told_frozen(model: AIM) -> str:
    """What learns beside a frozen trunk, and what that costs, in words."""
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    kept = sum(parameter.numel() for parameter in model.parameters()) - learned
    if model.start is None:
        return f"frozen: {kept:,} parameters of the trunk; {learned:,} learn, in the head"
    return (
        f"frozen: {kept:,} parameters of the trunk; {learned:,} learn, in the head and the start token, whose "
        "gradients pass through the frozen blocks: these cost a backward pass, but none for weights of their own"
    )
