"""Every variant in float64, written out from the paper's section 5.2: orders, heads, targets, masking.

Nothing is of the package. As in reference.py, which gives the parts: tensors by name, loops over patches, images,
heads and queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference import State, allowed, attention, layer_norm, linear, mlp, patchify, positions, target


def spiral(rows: int, columns: int) -> list[int]:
    """Walked backwards: from the upper left corner down, right, up, left and inwards, a turn wherever it is visited."""
    walk, row, column, down, right = [], 0, 0, 1, 0
    for _ in range(rows * columns):
        walk.append(row * columns + column)
        ahead = (row + down, column + right)
        if not (0 <= ahead[0] < rows and 0 <= ahead[1] < columns) or ahead[0] * columns + ahead[1] in walk:
            down, right = -right, down
        row, column = row + down, column + right
    return walk[::-1]


def checkerboard(rows: int, columns: int) -> list[int]:
    """First the places whose row and column have equal parity, then the others."""
    places = [(row, column) for row in range(rows) for column in range(columns)]
    equal = [row * columns + column for row, column in places if row % 2 == column % 2]
    return equal + [row * columns + column for row, column in places if row % 2 != column % 2]


@dataclass(frozen=True)
class Setting:
    """What the tensors do not say."""

    patch: int
    grid: tuple[int, int]
    heads: int  # of attention in the trunk
    head_heads: int  # and in a transformer head
    order: list[int]  # raster index of the i-th patch of the sequence
    attention: str  # prefix, causal or masked
    head: str  # mlp, none or transformer
    target: str  # norm_pixels, pixels or tokens


def losses(
    state: State, images: Tensor, drawn: list[list[int]], how: Setting, codes: list[list[int]]
) -> dict[tuple[int, int], Tensor]:
    """The loss of each scored patch: key (image, raster index of the patch).

    `drawn`: of each image the raster indices of the patches that are not scored: the prefix, or those not masked.
    `codes`: of each image the code of each patch in raster order.
    """
    patches, order = patchify(images, how.patch), how.order
    found = {}
    outputs = predictions(state, patches, drawn, how)
    for image, given in enumerate(drawn):
        for turn, patch in enumerate(order):
            if patch in given:
                continue
            at = turn if how.attention == "masked" else turn - 1
            output = outputs[image, at]
            if how.target == "tokens":
                found[image, patch] = -(output.exp() / output.exp().sum())[codes[image][patch]].log()
            else:
                found[image, patch] = ((output - target(patches[image, patch], how.target)) ** 2).mean()
    return found


def predictions(state: State, patches: Tensor, drawn: list[list[int]], how: Setting) -> Tensor:
    """What the head gives at every turn of the sequence."""
    order, length = how.order, patches.shape[1]
    place = positions(*how.grid, state["patch_embed.proj.bias"].shape[0])
    x = layer_norm(state, "patch_embed.norm", linear(state, "patch_embed.proj", patches))
    if how.attention == "masked":
        shown = torch.tensor([[patch in given for patch in range(length)] for given in drawn])
        x = torch.where(shown[..., None], x, state["mask_token.token"])
    x = (x + place)[:, order]
    mode = "bidirectional" if how.attention == "masked" else how.attention
    may = allowed(mode, [len(given) for given in drawn], length)
    for n in range(depth(state, "trunk")):
        x = block(state, f"trunk.blocks.{n}", x, how.heads, may)
    x = layer_norm(state, "trunk.post_trunk_norm", x)
    if how.head == "none":
        return linear(state, "head.pred", x)
    h = linear(state, "head.proj", x)
    h = h + positions(*how.grid, h.shape[-1])[order]
    for n in range(depth(state, "head")):
        if how.head == "transformer":
            h = block(state, f"head.blocks.{n}", h, how.head_heads, may)
        else:
            h = h + mlp(state, f"head.blocks.{n}.mlp", layer_norm(state, f"head.blocks.{n}.norm", h))
    return linear(state, "head.pred", layer_norm(state, "head.norm", h))


def block(state: State, name: str, x: Tensor, heads: int, may: list[list[list[bool]]]) -> Tensor:
    x = x + attention(state, f"{name}.attn", layer_norm(state, f"{name}.norm_1", x), heads, may)
    return x + mlp(state, f"{name}.mlp", layer_norm(state, f"{name}.norm_2", x))


def depth(state: State, part: str) -> int:
    return sum(name.startswith(f"{part}.blocks.") and name.endswith(".mlp.fc1.weight") for name in state)


def nearest(patches: Tensor, centers: Tensor, norm: bool) -> list[list[int]]:
    """The code of each patch by k-means: the center with the smallest squared distance."""
    found = []
    for image in patches:
        values = [target(patch, "norm_pixels") if norm else patch for patch in image]
        found.append([min(range(len(centers)), key=lambda c: float(((v - centers[c]) ** 2).sum())) for v in values])
    return found
