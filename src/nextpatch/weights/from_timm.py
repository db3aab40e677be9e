"""timm:NAME, a vision transformer of timm: the outputs of its blocks before the final norm, without prefix tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import Taps, check_sides


def of_timm(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """The model, its taps and what is known of it; NAME?random leaves its weights at random."""
    try:
        import timm
        from timm.data.config import resolve_model_data_config
    except ImportError:
        raise WeightsError(f"timm:{name} needs timm; install it with: pip install 'nextpatch[finetune]'") from None
    bare, _, flag = name.partition("?")
    options: dict[str, Any] = {"img_size": img_size} if img_size else {}
    try:
        model: Any = timm.create_model(bare, pretrained=flag != "random", num_classes=0, **options)
    except (RuntimeError, ValueError, OSError, TypeError, KeyError, AssertionError) as error:
        raise WeightsError(f"timm:{shown(name)}: {shown(' '.join(str(error).split())[:300])}") from None
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "blocks"):
        raise WeightsError(
            f"timm:{name} is not a transformer with blocks of patches; give a vit, beit, eva or deit model"
        )
    if img_size:
        check_sides(f"timm:{shown(name)}", img_size, model.patch_embed.patch_size)
    model.to(torch.float32)
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
        "preprocessing": Preprocessing(
            keep_exact=False, crop_ratio=data["crop_pct"],
            interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        ),
    }  # fmt: skip
