"""The tokenizer that a model predicts the codes of: found, opened once, and held to what the model was trained with."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nextpatch.core.text import shown
from nextpatch.model.config import ModelConfig
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import FILE, Tokenizer, open_tokenizer


def tokenizer_of_model(cfg: ModelConfig) -> Tokenizer:
    """The one that `cfg.tokenizer` names; TokenizerError where it is missing, damaged, or not the model's.

    One whose digest is known is opened once in a process.
    """
    if not cfg.tokenizer:
        raise TokenizerError(
            f"the model predicts {cfg.codes:,} codes of a tokenizer (SHA-256 {cfg.tokenizer_sha256[:12]}...) that is "
            f"not with its weights; give it too: WEIGHTS+{FILE}. Features need none"
        )
    return _once(cfg) if cfg.tokenizer_sha256 else open_for_model(cfg)


@lru_cache(maxsize=2)
def _once(cfg: ModelConfig) -> Tokenizer:
    return open_for_model(cfg)


def settled(cfg: ModelConfig) -> ModelConfig:
    """With number of codes and digest of the tokenizer that it names, where they are open."""
    if cfg.target != "tokens" or not cfg.tokenizer or (cfg.codes and cfg.tokenizer_sha256):
        return cfg
    found = open_tokenizer(Path(cfg.tokenizer))
    known = replace(cfg, codes=cfg.codes or found.codes, tokenizer_sha256=cfg.tokenizer_sha256 or found.digest)
    open_for_model(known)
    return known


def open_for_model(cfg: ModelConfig) -> Tokenizer:
    """The same, read now; TokenizerError where it does not fit the model."""
    found, name = open_tokenizer(Path(cfg.tokenizer)), shown(cfg.tokenizer)
    if cfg.tokenizer_sha256 not in ("", found.digest):
        raise TokenizerError(
            f"{name} is another tokenizer than the model was trained with (SHA-256 {found.digest[:12]}..., not "
            f"{cfg.tokenizer_sha256[:12]}...); put the right one there"
        )
    theirs, ours = (found.codes, found.patch_size, found.in_chans), (cfg.codes, cfg.patch_size, cfg.in_chans)
    if theirs != ours:
        raise TokenizerError(
            f"{name} has {theirs[0]:,} codes of patches of {theirs[1]} px and {theirs[2]} channels, and the model "
            f"predicts {ours[0]:,} codes of patches of {ours[1]} px and {ours[2]} channels; give the one that fits"
        )
    return found
