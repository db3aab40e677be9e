"""A trunk as timm's VisionTransformer: the same function under its names, so that timm's users can take it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.config import ConfigError
from nextpatch.core.random import FixedSeed, torch_generator
from nextpatch.core.tensors import save_safetensors
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.weights import PREDICTS, to_released
from nextpatch.patches import sincos_positions
from nextpatch.tasks.publish.view import facts_of, timm_view
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError

TOLERANCE = 1e-4
_NAMES = (
    ("preprocessor.patchifier.", "patch_embed."), ("trunk.post_trunk_norm.", "norm."), ("trunk.blocks.", "blocks."),
    (".norm_1.", ".norm1."), (".norm_2.", ".norm2."),
)  # fmt: skip


def arguments(cfg: ModelConfig) -> dict[str, Any]:
    """What timm's VisionTransformer is made with, plain values only: `VisionTransformer(**arguments)` is the model.

    The name of its norm means LayerNorm with eps 1e-6 there, as here.
    """
    s = cfg.shape
    return {
        "img_size": list(cfg.img_size), "patch_size": cfg.patch_size, "in_chans": cfg.in_chans, "num_classes": 0,
        "global_pool": "", "embed_dim": s.embed_dim, "depth": s.depth, "num_heads": s.num_heads, "mlp_ratio": 4.0,
        "qkv_bias": False, "proj_bias": False, "class_token": False, "pos_embed": "learn",
        "norm_layer": "layernorm", "embed_norm_layer": "layernorm",
    }  # fmt: skip


def timm_model(cfg: ModelConfig) -> nn.Module:
    """An empty one; ConfigError when timm is not installed."""
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError:
        raise ConfigError("this needs timm; install it with: pip install 'nextpatch[finetune]'") from None
    return VisionTransformer(**arguments(cfg))


def timm_state(model: AIM) -> dict[str, Tensor]:
    """The trunk's tensors under timm's names; the positions, which we compute, are a tensor there."""
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith(PREDICTS)}
    state: Mapping[str, Tensor] = to_released(kept, model.cfg)
    out = {}
    for name, tensor in state.items():
        for theirs, timms in _NAMES:
            name = name.replace(theirs, timms)
        out[name] = tensor
    return {**out, "pos_embed": sincos_positions(model.cfg.grid, model.cfg.shape.embed_dim)[None]}


def to_timm(backbone: Backbone, out: Path) -> float:
    """Write a .safetensors file with timm's names, and what its VisionTransformer is made with in the metadata.

    Returns the largest difference to timm's own forward pass; WeightsError, and no file, when that is above 1e-4.
    """
    model = backbone.aim
    if backbone.about.attention != "bidirectional":
        raise WeightsError(
            f"{backbone.about.name} is read with {backbone.about.attention} attention, and timm's model attends to all "
            "patches; give --attention bidirectional for the weights alone"
        )
    if model.start is not None:
        raise WeightsError(
            f"{backbone.about.name} learned to generate, so its features stand behind a start token, and timm's model "
            "has none; export a graph (onnx, torch.export), or the weights for nextpatch (safetensors, hub)"
        )
    theirs = timm_model(model.cfg).eval()
    state = timm_state(model)
    theirs.load_state_dict(state)
    images = torch.randn(
        2, model.cfg.in_chans, *model.cfg.img_size, generator=torch_generator(FixedSeed.EXAMPLE_IMAGES)
    )
    with torch.no_grad():
        wanted = model.features(images, ["post_trunk_norm"])["post_trunk_norm"]
        apart = float((theirs.forward_features(images) - wanted).abs().max() / wanted.abs().max().clamp_min(1.0))  # type: ignore[operator]
    if not apart <= TOLERANCE:
        raise WeightsError(f"{out} would be off by {apart:.1e} in timm; it was not written")
    about = backbone.about
    facts = {
        **facts_of(backbone),
        "timm": json.dumps(arguments(model.cfg)),
        "pretrained_cfg": json.dumps(timm_view(about)),
        "mean": json.dumps(list(about.mean)),
        "std": json.dumps(list(about.std)),
    }
    save_safetensors(out, state, facts)
    return apart
