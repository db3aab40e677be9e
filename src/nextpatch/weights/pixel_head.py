"""The pixel head alone, as a file beside released weights: saved, and put onto them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from nextpatch.config import from_dict, to_dict
from nextpatch.core.tensors import save_safetensors
from nextpatch.core.text import shown
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.weights import PREDICTS, from_released, to_released
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.build import build_aim, naming_file
from nextpatch.weights.classifier import mark_of
from nextpatch.weights.error import WeightsError
from nextpatch.weights.layout import has_pixel_head, pixel_head_values
from nextpatch.weights.tensors import read_tensors
from nextpatch.weights.tokenizer import with_tokenizer_beside

PIXEL_HEAD = "nextpatch-pixel-head-1"
_START = "start."
_OF_TRUNK = {"size", "img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads"}


def with_pixel_head(backbone: Backbone, path: Path) -> Backbone:
    """The same weights with the pixel head of a file of `save_pixel_head`; WeightsError when it does not fit."""
    model, (state, facts) = backbone.aim, read_tensors(path)
    name = f"{backbone.about.name}+{path}"
    if facts.get("format") != PIXEL_HEAD or not has_pixel_head(state):
        raise WeightsError(f"{shown(path)} holds no pixel head; nextpatch fit-head writes one")
    beside = tuple(_START for key in state if key.startswith(_START))[:1]
    if facts.get("trunk", mark_of(model, beside)) != mark_of(model, beside):
        raise WeightsError(f"{shown(path)} was fitted to other weights than {shown(backbone.about.name)}; fit it again")
    with naming_file(name):
        cfg = _config(model.cfg, state, facts)
        ours = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(PREDICTS + beside)}
        both = ours | from_released(state)
    backbone.trunk = build_aim(cfg, both, name).to(backbone.device).eval()
    if beside:  # a classifier reads features without this start token
        backbone = Backbone(backbone.trunk, replace(backbone.about, upscale=cfg.upscale))
    return with_tokenizer_beside(backbone, path.parent)


def _config(of_trunk: ModelConfig, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> ModelConfig:
    """The trunk's, with what the file says of prediction; older files say the target only."""
    said = json.loads(facts["model"]) if "model" in facts else {"target": facts.get("target", "norm_pixels")}
    predicts = pixel_head_values(state) | {name: value for name, value in said.items() if name not in _OF_TRUNK}
    return from_dict(ModelConfig, to_dict(of_trunk) | predicts, "model")


def save_pixel_head(path: Path, model: AIM) -> None:
    """The pixel head alone, under the names of the released layout; an existing file is replaced in one step.

    With it goes its start token, where it has one, what it predicts, and in which order: the weights that it is put
    onto may be of another objective.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith((*PREDICTS, _START))}
    values = to_dict(model.cfg.resolved().without_places())
    said = {name: value for name, value in values.items() if name not in _OF_TRUNK}
    facts = {
        "format": PIXEL_HEAD, "target": model.cfg.target, "trunk": mark_of(model, (_START,)),
        "model": json.dumps(said),
    }  # fmt: skip
    save_safetensors(path, to_released(state, model.cfg), facts)
