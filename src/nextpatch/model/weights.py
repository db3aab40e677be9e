"""Our parameter names and the released layout's, in one table, both ways, without loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.model.config import ModelConfig

# ours -> released (apple/aim-*); a name takes the first row whose prefix fits
TABLE: tuple[tuple[str, str], ...] = (
    ("patch_embed.", "preprocessor.patchifier."),
    ("trunk.", "trunk."),
    ("attentive.", "head."),  # the attentive classifier; the released files have no pixel head
    ("head.", "pixel_head."),
    ("paper_head.", "paper_head."),  # the paper's head beside one that is a distribution
    ("start.", "start."),  # of the objective generate: features have the start token in front, too
    ("mask_token.", "mask_token."),  # of the objective masked; only what predicts has it
)
PREDICTS = ("head.", "mask_token.", "paper_head.")  # ours that features do without
PATCH_WEIGHT = "patch_embed.proj.weight"  # a linear [d, P * P * C] here, a convolution [d, C, P, P] there


def to_released(state: Mapping[str, Tensor], cfg: ModelConfig) -> dict[str, Tensor]:
    """The same tensors under the released names; the patch projection becomes a stride-P convolution kernel."""
    p, c = cfg.patch_size, cfg.in_chans
    out = {_rename(name, TABLE): tensor for name, tensor in state.items()}
    if PATCH_WEIGHT in state:
        kernel = state[PATCH_WEIGHT].reshape(-1, p, p, c).permute(0, 3, 1, 2).contiguous()
        out[_rename(PATCH_WEIGHT, TABLE)] = kernel
    return out


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_released`: tensors under our names, the convolution kernel as a linear weight."""
    back = tuple((theirs, ours) for ours, theirs in TABLE)
    out = {_rename(name, back): tensor for name, tensor in state.items()}
    if PATCH_WEIGHT in out:
        out[PATCH_WEIGHT] = out[PATCH_WEIGHT].permute(0, 2, 3, 1).flatten(1).contiguous()
    return out


def _rename(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for old, new in table:
        if name.startswith(old):
            return new + name.removeprefix(old)
    known = ", ".join(f"{old}*" for old, _ in table)
    raise UserError(f"unknown weight '{name}'; the layouts have {known}: is this file an AIM v1 checkpoint?")
