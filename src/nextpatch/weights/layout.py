"""What model a state in the released layout is of: read off its shapes, its config and its file's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.weights.error import WeightsError
from nextpatch.weights.released import LAST

KERNEL = "preprocessor.patchifier.proj.weight"
_PIXEL_HEAD = "pixel_head."
_GRID = 16  # patches per side of the released models, where nothing says otherwise


def model_config(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> ModelConfig:
    """The model that these tensors are of. Image size and heads cannot be read off them: `config` (the config.json of a
    snapshot) says them, or else the grid is 16 x 16 and the heads are those of our size of this width.
    """
    kernel = state.get(KERNEL)
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3]:
        names = shown(", ".join(sorted(state)[:3])[:200])
        raise WeightsError(f"{shown(where)} is not an AIM v1 model: it has no {KERNEL} (it has {names}, ...)")
    dim, chans, patch, _ = kernel.shape
    depth = depth_of(state)
    if not depth:
        raise WeightsError(f"{shown(where)} has no trunk; give the backbone too: BACKBONE.pth+HEAD.pth")
    size = _size_of(dim, depth)
    side = config.get("img_size", _GRID * patch)
    sides = [side, side] if type(side) is int else side
    heads = config.get("num_heads", 0) or _heads_of(dim, where)
    if not isinstance(sides, list) or [type(n) for n in (*sides, heads)] != [int, int, int]:
        raise WeightsError(
            f"{shown(where)}: img_size or num_heads in its config is not a whole number; download it again"
        )
    return ModelConfig(size, (sides[0], sides[1]), patch, chans, dim, depth, heads, **pixel_head_values(state))


def depth_of(state: Mapping[str, Tensor]) -> int:
    """The number of blocks, by the highest that there is."""
    blocks = (int(found[1]) for name in state if (found := re.match(r"trunk\.blocks\.(\d+)\.", name)))
    return max(blocks, default=-1) + 1


def probed_blocks(config: Mapping[str, Any], depth: int) -> list[int]:
    """Which blocks the classifier reads: a list of them, or how many of the last; the last six unless it is said."""
    said = config.get("probe_layers", LAST)
    if type(said) is int and 1 <= said <= max(depth, LAST):
        return list(range(max(0, depth - said), depth))
    if isinstance(said, list) and said and all(type(block) is int and 0 <= block < depth for block in said):
        return said
    raise WeightsError(f"probe_layers {shown(str(said)[:80])} names no blocks of 0 to {depth - 1}")


def has_pixel_head(state: Mapping[str, Tensor]) -> bool:
    """Whether the state can predict."""
    return any(name.startswith(_PIXEL_HEAD) for name in state)


def _size_of(dim: int, depth: int) -> str:
    same = [name for name, s in SIZES.items() if (s.embed_dim, s.depth) == (dim, depth)]
    return same[0] if same else "small"


def _heads_of(dim: int, where: str) -> int:
    heads = {s.num_heads for s in SIZES.values() if s.embed_dim == dim}
    if len(heads) != 1:
        raise WeightsError(
            f"{shown(where)} does not say how many attention heads it has, and width {dim} is none of ours; put a "
            'config.json with {"num_heads": N} beside it and give the folder'
        )
    return heads.pop()


def pixel_head_values(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the pixel head's tensors say of it, as values of `ModelConfig`; nothing where there is none."""
    if not has_pixel_head(state):
        return {}
    first = state.get(f"{_PIXEL_HEAD}proj.weight")
    if first is None:
        return {"head": "none", "head_width": 0, "head_depth": 0}
    blocks = {int(found[1]) for name in state if (found := re.match(r"pixel_head\.blocks\.(\d+)\.", name))}
    attends = any(".attn." in name for name in state if name.startswith(_PIXEL_HEAD))
    kind = "transformer" if attends else "mlp"
    return {"head": kind, "head_width": int(first.shape[0]), "head_depth": len(blocks)}
