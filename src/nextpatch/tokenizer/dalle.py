"""The encoder of the public DALL-E codebook, under the tensor names of its release for FLAVA.

Source: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092), appendix A, and the released weights. The
image is halved three times, so a code stands for a cell of 8 x 8 pixels; it depends on about 12 cells to each side.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown
from nextpatch.tokenizer.error import TokenizerError

CELL = 8  # pixels of a side that a code stands for
EPS = 0.1  # a pixel x in [0, 1] goes in as (1 - 2 EPS) x + EPS
_GROUPS = {"group_1": 1, "group_2": 2, "group_3": 4, "group_4": 8}  # name -> width, in units of `hidden`
_PLACES = {
    "input": 64,
    "group_1": 64,
    "group_2": 16,
    "group_3": 4,
    "group_4": 1,
    "output": 1,
}  # of a cell, at each part
_INPUT, _OUTPUT = "blocks.input.weight", "blocks.output.conv.weight"
_FIRST_GROUP = re.compile(r"blocks\.group_1\.group\.block_(\d{1,3})\.")


@dataclass(frozen=True)
class CodebookSizes:
    """Sizes of the encoder; the defaults are the released ones. ConfigError for sizes that none can have."""

    channels: int = 3
    hidden: int = 256
    blocks: int = 2
    """Residual blocks in each of the four groups."""
    codes: int = 8192

    def __post_init__(self) -> None:
        check_bounds(self, channels=(1, 64), hidden=(4, 4096), blocks=(1, 32), codes=(2, 2**20))


class _Path(nn.Module):
    """Three 3 x 3 convolutions at a quarter of the width, and a 1 x 1 one, each behind a ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        widths = (inputs, outputs // 4, outputs // 4, outputs // 4)
        for number, width in enumerate(widths, start=1):
            last = number == len(widths)
            parts[f"relu_{number}"] = nn.ReLU()
            parts[f"conv_{number}"] = nn.Conv2d(width, outputs, 1) if last else _conv3(width, outputs // 4)
        self.path = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.path(x)
        return found


class _Block(nn.Module):
    """The input, projected where the width changes, plus its path, scaled down by the square of the depth."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.gain = 1 / depth**2
        self.id_path = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.res_path = _Path(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.id_path(x) + self.gain * self.res_path(x)
        return found


class _Group(nn.Module):
    """Blocks at one resolution, then all but the last group halve it."""

    def __init__(self, inputs: int, outputs: int, sizes: CodebookSizes, halves: bool) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(sizes.blocks):
            width = outputs if number else inputs
            parts[f"block_{number + 1}"] = _Block(width, outputs, len(_GROUPS) * sizes.blocks)
        if halves:
            parts["pool"] = nn.MaxPool2d(2)
        self.group = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.group(x)
        return found


class DalleEncoder(nn.Module):
    """Pixels as `EPS` maps them to a logit for each code and cell."""

    def __init__(self, sizes: CodebookSizes) -> None:
        super().__init__()
        self.sizes = sizes
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["input"] = nn.Conv2d(sizes.channels, sizes.hidden, 7, padding=3)
        width = sizes.hidden
        for name, times in _GROUPS.items():
            parts[name] = _Group(width, times * sizes.hidden, sizes, halves=name != "group_4")
            width = times * sizes.hidden
        parts["output"] = nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=nn.Conv2d(width, sizes.codes, 1)))
        self.blocks = nn.Sequential(parts)

    def forward(
        self, pixels: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch codes rows columns"]:
        """The logits; sides are multiples of CELL."""
        found: Float[Tensor, "batch codes rows columns"] = self.blocks(pixels)
        return found

    @property
    def flops(self) -> float:
        """Operations of one cell: a multiply-add is two, and only products count, as in model/cost.py."""
        return float(
            sum(2 * w.numel() * _PLACES[name.split(".")[1]] for name, w in self.named_parameters() if w.ndim > 1)
        )


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def empty_encoder(sizes: CodebookSizes) -> DalleEncoder:
    """The encoder without values: names and shapes alone take no memory."""
    with torch.device("meta"):
        return DalleEncoder(sizes).eval().requires_grad_(False)


def sizes_of(tensors: Mapping[str, Tensor]) -> CodebookSizes:
    """The sizes of an encoder of these tensors; TokenizerError where names or shapes are not those of one."""
    for name in (_INPUT, _OUTPUT):
        if name not in tensors or tensors[name].ndim != 4:
            raise TokenizerError(f"it has no tensor '{name}' as facebook/flava-image-codebook has")
    hidden, channels = tensors[_INPUT].shape[:2]
    blocks = [int(found[1]) for found in map(_FIRST_GROUP.match, tensors) if found]
    try:
        sizes = CodebookSizes(channels, hidden, max(blocks, default=1), len(tensors[_OUTPUT]))
    except ConfigError as error:
        raise TokenizerError(f"it is no codebook: {error}") from None
    _compare(tensors, empty_encoder(sizes).state_dict())
    return sizes


def _compare(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """TokenizerError for the first tensor that is missing, unknown or of another shape."""
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        what = "missing" if odd[0] in wanted else "unknown"
        raise TokenizerError(f"its tensors are not those of facebook/flava-image-codebook: {shown(odd[0])} is {what}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise TokenizerError(f"its tensor {shown(name)} is {list(tensor.shape)}, not {list(wanted[name].shape)}")
