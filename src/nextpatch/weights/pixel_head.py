"""The pixel head alone, as a file beside released weights: saved, and put onto them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextpatch.core.tensors import save_safetensors
from nextpatch.core.text import shown
from nextpatch.model.aim import AIM
from nextpatch.model.weights import from_released, to_released
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.build import build_aim, naming_file
from nextpatch.weights.classifier import mark_of
from nextpatch.weights.error import WeightsError
from nextpatch.weights.layout import has_pixel_head, pixel_head_values
from nextpatch.weights.tensors import read_tensors

PIXEL_HEAD = "nextpatch-pixel-head-1"


def with_pixel_head(backbone: Backbone, path: Path) -> Backbone:
    """The same weights with the pixel head of a file of `save_pixel_head`; WeightsError when it does not fit."""
    model, (state, facts) = backbone.aim, read_tensors(path)
    name = f"{backbone.about.name}+{path}"
    if facts.get("format") != PIXEL_HEAD or not has_pixel_head(state):
        raise WeightsError(f"{shown(path)} holds no pixel head; nextpatch fit-head writes one")
    if facts.get("trunk", mark_of(model)) != mark_of(model):
        raise WeightsError(f"{shown(path)} was fitted to other weights than {shown(backbone.about.name)}; fit it again")
    with naming_file(name):
        cfg = replace(model.cfg, **pixel_head_values(state), target=facts.get("target", "norm_pixels"))
        ours = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("head.")}
        both = ours | from_released(state)
    backbone.trunk = build_aim(cfg, both, name).to(backbone.device).eval()
    return backbone


def save_pixel_head(path: Path, model: AIM) -> None:
    """The pixel head alone, under the names of the released layout; an existing file is replaced in one step."""
    state = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    facts = {"format": PIXEL_HEAD, "target": model.cfg.target, "trunk": mark_of(model)}
    save_safetensors(path, to_released(state, model.cfg), facts)
