"""The tokenizer of weights that predict codes: found beside them, or given behind a "+". Features need none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextpatch.core.text import shown
from nextpatch.model.config import ModelConfig
from nextpatch.tokenizer.artifact import read_artifact, write_artifact
from nextpatch.tokenizer.of_model import open_for_model
from nextpatch.tokenizer.tokenizer import FILE
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError


def with_tokenizer(backbone: Backbone, path: Path) -> Backbone:
    """The same weights with the tokenizer in a file; WeightsError where they predict no codes, TokenizerError where it
    is another one than they were trained with."""
    cfg = backbone.aim.cfg
    if cfg.target != "tokens":
        raise WeightsError(f"{shown(backbone.about.name)} predicts {cfg.target}, no codes; leave {shown(path)} out")
    own = replace(cfg, tokenizer=str(path))
    open_for_model(own)
    backbone.aim.cfg = own
    return backbone


def with_tokenizer_beside(backbone: Backbone, folder: Path) -> Backbone:
    """The same weights with the tokenizer that lies in the folder they came from, if they need one and have none.

    Whether it is theirs is asked when it is needed.
    """
    cfg = backbone.aim.cfg
    if cfg.target == "tokens" and not cfg.tokenizer and (folder / FILE).is_file():
        backbone.aim.cfg = replace(cfg, tokenizer=str(folder / FILE))
    return backbone


def copy_tokenizer_of(cfg: ModelConfig, folder: Path) -> None:
    """Write a copy of the model's tokenizer into a folder, where it is at hand."""
    if cfg.target == "tokens" and cfg.tokenizer and Path(cfg.tokenizer).is_file():
        open_for_model(cfg)
        write_artifact(folder / FILE, read_artifact(Path(cfg.tokenizer)))
