"""Models of other libraries as trunks: timm, transformers, torch.hub, or any callable that gives patch features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.data.config import IMAGENET_MEAN, IMAGENET_STD
from nextpatch.model.layer_sets import blocks_named, last_blocks
from nextpatch.weights.backbone import About, Backbone
from nextpatch.weights.error import WeightsError

PREFIXES = ("timm:", "hf:", "torchhub:")
_GENERATIVE = ("mae", "beit", "data2vec")  # read at their last six blocks, as the paper does; others at the last
Taps = Callable[[Tensor], Sequence[Tensor]]  # images -> the output of every block, "batch patches dim"


def knows(spec: str) -> bool:
    """Whether a text names a model of another library."""
    return spec.startswith(PREFIXES)


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
        """The outputs named in `layers`, "batch patches dim". ValueError for one that is not there."""
        if unknown := [name for name in layers if name not in self.layer_names()]:
            raise ValueError(f"no layer {', '.join(unknown)}; this model has {', '.join(self.layer_names())}")
        found = self._taps(images)
        return {name: found[int(name.removeprefix("block_"))] for name in layers}


def open_foreign(spec: str, layers: str, img_size: tuple[int, int] | None) -> Backbone:
    """The model that a text with one of PREFIXES names; WeightsError when its library lacks it or is not installed."""
    prefix, _, name = spec.partition(":")
    opened = {"timm": _timm, "hf": _transformers, "torchhub": _torchhub}[prefix](name, img_size)
    return backbone_of(*opened, name=spec, layers=layers)


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
        "img_size": (224, 224), "in_chans": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, **(facts or {}),
    }  # fmt: skip
    model.eval()
    like = next(model.parameters(), torch.zeros(()))
    with torch.no_grad():
        found = taps(torch.zeros(1, known["in_chans"], *known["img_size"], device=like.device, dtype=like.dtype))
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
    about = About(
        name=name or type(model).__name__, dim=dim, num_heads=heads, layers=chosen, num_patches=patches, **known
    )
    return Backbone(ForeignTrunk(model, taps, depth), about)


def _timm(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """A vision transformer of timm; outputs of blocks before the final norm, without prefix tokens."""
    try:
        import timm
        from timm.data.config import resolve_model_data_config
    except ImportError:
        raise WeightsError(f"timm:{name} needs timm; install it with: pip install 'nextpatch[finetune]'") from None
    bare, _, flag = name.partition("?")
    options: dict[str, Any] = {"img_size": img_size} if img_size else {}
    try:
        model: Any = timm.create_model(bare, pretrained=flag != "random", num_classes=0, **options)
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        raise WeightsError(f"timm:{name}: {' '.join(str(error).split())[:300]}") from None
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "blocks"):
        raise WeightsError(f"timm:{name} is no transformer with blocks of patches; give a vit, beit, eva or deit model")
    data: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]

    def taps(images: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = model.forward_intermediates(
            images, norm=False, output_fmt="NLC", intermediates_only=True
        )
        return found

    heads = getattr(getattr(model.blocks[0], "attn", None), "num_heads", 0)
    return model, taps, {
        "img_size": img_size or tuple(data["input_size"][1:]), "in_chans": data["input_size"][0],
        "mean": tuple(data["mean"]), "std": tuple(data["std"]), "num_heads": heads,
    }  # fmt: skip


def _transformers(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """A vision transformer of the Hub's own library; weights as safetensors, never code of the repository."""
    try:
        from transformers import AutoModel
    except ImportError:
        raise WeightsError(f"hf:{name} needs transformers; install it with: pip install transformers") from None
    try:
        whole = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"hf:{name}: {' '.join(str(error).split())[:300]}") from None
    model = getattr(whole, "vision_model", whole)
    config = getattr(model, "config", whole.config)
    side, patch = getattr(config, "image_size", 224), getattr(config, "patch_size", 16)
    sides = img_size or ((side, side) if isinstance(side, int) else tuple(side))
    patches = (sides[0] // patch) * (sides[1] // patch)
    flexible = {"interpolate_pos_encoding": True} if img_size else {}

    def taps(images: Tensor) -> Sequence[Tensor]:
        hidden = model(pixel_values=images, output_hidden_states=True, **flexible).hidden_states[1:]
        return [h[:, h.shape[1] - patches :] for h in hidden]  # class and register tokens stand first

    return model, taps, {"img_size": sides, "num_heads": getattr(config, "num_attention_heads", 0)}


def _torchhub(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """torchhub:OWNER/REPO:ENTRY, a vision transformer with `get_intermediate_layers` as DINO and DINOv2 have it.

    torch.hub runs the repository's code; it asks before it does so for the first time.
    """
    repo, _, entry = name.rpartition(":")
    if not repo:
        raise WeightsError(f"torchhub:{name} names no entry; write torchhub:facebookresearch/dinov2:dinov2_vitl14")
    source = "local" if repo.startswith(("/", ".")) else "github"
    try:
        model: Any = torch.hub.load(repo, entry, source=source, trust_repo="check")  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"torchhub:{name}: {' '.join(str(error).split())[:300]}") from None
    if not hasattr(model, "get_intermediate_layers"):
        raise WeightsError(f"torchhub:{name} has no get_intermediate_layers; use nextpatch.weights.foreign.backbone_of")
    depth = len(model.blocks)
    sides = img_size or (224, 224)
    patch = model.patch_embed.patch_size
    patch = patch if isinstance(patch, int) else patch[0]
    patches = (sides[0] // patch) * (sides[1] // patch)

    def taps(images: Tensor) -> Sequence[Tensor]:
        found = model.get_intermediate_layers(images, depth)
        return [f[:, f.shape[1] - patches :] for f in found]

    return model, taps, {"img_size": sides, "num_heads": getattr(model, "num_heads", 0)}
