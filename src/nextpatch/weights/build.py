"""The model around tensors as they are: nothing is copied, position tables are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.weights.classifier import in_float32
from nextpatch.weights.error import WeightsError


def build_aim(cfg: ModelConfig, state: Mapping[str, Tensor], name: str) -> AIM:
    """The model around the tensors as they are, in float32."""
    _check_size(cfg, state, name)
    with torch.device("meta"):
        model = AIM(cfg, pixel_head=any(key.startswith("head.") for key in state))
    try:
        missing, unexpected = model.load_state_dict(in_float32(state), strict=False, assign=True)
    except RuntimeError as error:
        reason = shown(" ".join(str(error).split())[:600])
        raise WeightsError(f"{shown(name)}: {reason}; is it of another model?") from None
    if missing or unexpected:
        what = f"lacks {', '.join(missing[:3])}" if missing else f"has {', '.join(unexpected[:3])}, which no AIM v1 has"
        raise WeightsError(f"{shown(name)} {shown(what)}; is the file whole, and of this model?")
    model.resize(cfg.img_size)  # positions are not among the tensors
    return model


def _check_size(cfg: ModelConfig, state: Mapping[str, Tensor], name: str) -> None:
    """WeightsError, before anything is built, when the config is of another size than the tensors."""
    said, found = count_params(cfg), sum(tensor.numel() for tensor in state.values())
    wanted = said.total if any(key.startswith("head.") for key in state) else said.patch_embed + said.trunk + said.start
    if not found / 2 <= wanted <= 2 * found:
        raise WeightsError(
            f"{shown(name)} says that its model has {wanted:,} parameters, and holds {found:,}; is the file whole, and "
            "of this model?"
        )


@contextmanager
def naming_file(name: str) -> Iterator[None]:
    """Whatever is wrong with what a file says of its tensors becomes a WeightsError with the file's name."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        if isinstance(error, WeightsError) and name in str(error):
            raise
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        text = shown(" ".join(reason.split())[:300])
        raise WeightsError(f"{shown(name)} does not say what model it is of ({text}); download it again") from None
