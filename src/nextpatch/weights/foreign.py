"""Models of other libraries as trunks: any module with a callable that gives the patch features of every block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.core.text import shown
from nextpatch.data.config import IMAGENET_MEAN, IMAGENET_STD
from nextpatch.data.preprocessing import AS_RELEASED
from nextpatch.model.layer_sets import blocks_named, last_blocks
from nextpatch.weights.backbone import Backbone, ModelInfo
from nextpatch.weights.error import WeightsError

_GENERATIVE = ("mae", "beit", "data2vec")  # read at their last six blocks, as the paper does; others at the last
Taps = Callable[[Tensor], Sequence[Tensor]]  # images -> the output of every block, "batch patches dim"


class ForeignTrunk(nn.Module):
    """A model of another library behind the interface of ours.

    `taps` gives the output of every block without class and register tokens; `depth` is how many blocks there are.
    """

    def __init__(self, model: nn.Module, taps: Taps, depth: int) -> None:
        super().__init__()
        self.model, self._taps, self._depth = model, taps, depth

    def layer_names(self) -> list[str]:
        """The outputs of the blocks, in order of depth."""
        return [f"block_{block}" for block in range(self._depth)]

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs named in `layers`, "batch patches dim". UserError for one that is not there."""
        if unknown := [name for name in layers if name not in self.layer_names()]:
            raise UserError(f"no layer {', '.join(unknown)}; this model has {', '.join(self.layer_names())}")
        found = self._taps(images)
        return {name: found[int(name.removeprefix("block_"))] for name in layers}


def backbone_of(
    model: nn.Module,
    taps: Taps,
    facts: dict[str, Any] | None = None,
    *,
    name: str = "",
    layers: str = "",
) -> Backbone:
    """Any model as a backbone: `taps(images)` gives a sequence of patch features, "batch patches dim", one a block.

    `facts` may say img_size, mean, std, in_chans and num_heads; what it does not is 224 px, ImageNet's, 3 and heads of
    64. Depth and width are found by one forward pass. The default layer is the last.
    """
    known: dict[str, Any] = {
        "img_size": (224, 224), "in_chans": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
        "preprocessing": AS_RELEASED, **(facts or {}),
    }  # fmt: skip
    model.eval()
    like = next(model.parameters(), torch.zeros(()))
    height, width = known["img_size"]
    with torch.no_grad():
        try:
            found = taps(torch.zeros(1, known["in_chans"], height, width, device=like.device, dtype=like.dtype))
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:  # whatever its library says
            reason = shown(" ".join(str(error).split())[:200])
            raise WeightsError(f"{shown(name)} cannot be given images of {height} x {width} px: {reason}") from None
    if not found or any(f.ndim != 3 for f in found):
        shapes = [tuple(f.shape) for f in found]
        raise WeightsError(
            f"{name or type(model).__name__} must give 'batch patches dim' for every block, gave {shapes}"
        )
    depth, (_, patches, dim) = len(found), found[-1].shape
    heads = known.pop("num_heads", 0) or max(1, dim // 64)
    generative = any(word in name.lower() for word in _GENERATIVE)
    usual = tuple(last_blocks(depth)) if generative or layers == "last" else (f"block_{depth - 1}",)
    chosen = usual if layers in ("", "last", "best") else tuple(blocks_named(layers, depth))
    about = ModelInfo(
        name=name or type(model).__name__, dim=dim, num_heads=heads, layers=chosen, num_patches=patches, **known
    )
    return Backbone(ForeignTrunk(model, taps, depth), about)


def check_sides(name: str, sides: tuple[int, int], patch: object) -> None:
    """WeightsError when sides in pixels are no multiples of the patch: the library would cut off what is over."""
    patches = patch if isinstance(patch, (tuple, list)) else (patch, patch)
    for word, side, each in zip(("height", "width"), sides, patches, strict=True):
        if side % each:
            near = max(1, round(side / each)) * each
            raise WeightsError(f"{name}: image {word} {side} is not a multiple of its patch size {each}; use {near}")


def hooked(blocks: Sequence[nn.Module], forward: Callable[[Tensor], object], patches: int) -> Taps:
    """Taps that note what each of `blocks` gives while `forward` runs: the last `patches` tokens, without any norm.

    Class and register tokens stand first. What a library itself returns of its last block differs: some norm it.
    """

    def taps(images: Tensor) -> Sequence[Tensor]:
        found: list[Tensor] = []

        def note(_module: nn.Module, _args: object, out: Any) -> None:
            tokens = out if isinstance(out, Tensor) else out[0]
            found.append(tokens[:, tokens.shape[1] - patches :])

        handles = [block.register_forward_hook(note) for block in blocks]
        try:
            forward(images)
        finally:
            for handle in handles:
                handle.remove()
        return found

    return taps
