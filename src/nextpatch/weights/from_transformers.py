"""hf:NAME, a vision transformer of transformers: weights as safetensors, never code or kernels of a repository."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Interpolation, Preprocessing
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import Taps, check_sides, hooked

log = logging.getLogger(__name__)
_STATISTICS = {"mean": "image_mean", "std": "image_std"}
_BICUBIC = 3
_INTERPOLATIONS: dict[Any, Interpolation] = {2: "bilinear", _BICUBIC: "bicubic"}  # Pillow's numbers
_NAMES_OTHERS = ("quantization_config", "backbone", "use_timm_backbone", "architecture")
_LARGEST = {
    "hidden_size": 2**16, "num_hidden_layers": 2**10, "intermediate_size": 2**20, "num_attention_heads": 2**10,
    "num_channels": 2**12, "image_size": 2**14, "patch_size": 2**12,
}  # fmt: skip
_BAD = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, MemoryError, RecursionError)


def of_transformers(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """The model, its taps, and what its config.json and preprocessor_config.json say."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise WeightsError(f"hf:{name} needs transformers; install it with: pip install transformers") from None
    try:
        whole, said = _opened(name), _preprocessing(name)
    except WeightsError:
        raise
    except _BAD as error:
        raise WeightsError(f"hf:{shown(name)}: {shown(' '.join(str(error).split())[:300])}") from None
    model = getattr(whole, "vision_model", whole)
    config = getattr(model, "config", whole.config)
    side, patch = getattr(config, "image_size", 224), getattr(config, "patch_size", 16)
    sides = img_size or ((side, side) if isinstance(side, int) else tuple(side))
    check_sides(f"hf:{shown(name)}", sides, patch)
    patches = (sides[0] // patch) * (sides[1] // patch)
    flexible = {"interpolate_pos_encoding": True} if img_size else {}

    def forward(images: Tensor) -> object:
        return model(pixel_values=images, **flexible)

    facts = {"img_size": sides, "num_heads": getattr(config, "num_attention_heads", 0), **said}
    if isinstance(chans := getattr(config, "num_channels", 3), int):
        facts["in_chans"] = chans
    return model, hooked(_blocks(name, model, config), forward, patches), facts


def _opened(name: str) -> Any:
    """The model in float32, after a look at what its config.json would make the library do."""
    from transformers import AutoConfig, AutoModel, PreTrainedConfig
    from transformers.utils.peft_utils import find_adapter_config_file

    values, _ = PreTrainedConfig.get_config_dict(name)
    _check(name, values)
    if find_adapter_config_file(name) is not None:
        raise WeightsError(f"hf:{shown(name)} is an adapter to other weights; give a whole model")
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    options = {"config": config, "use_safetensors": True, "trust_remote_code": False}
    try:  # said here, because config.json could name a kernel of the Hub, which is a program
        whole = AutoModel.from_pretrained(name, attn_implementation="sdpa", **options)
    except (ValueError, ImportError):
        whole = AutoModel.from_pretrained(name, attn_implementation="eager", **options)
    return whole.to(torch.float32)


def _check(name: str, values: dict[str, Any]) -> None:
    """WeightsError where a config names other models, or sizes beyond any that exist: they would fill the memory."""
    for key, value in values.items():
        if isinstance(value, dict):
            _check(name, value)
        if key in _NAMES_OTHERS and value:
            raise WeightsError(f"hf:{shown(name)}: its config.json says {key}, which names other code or weights")
        numbers = value if isinstance(value, list) else [value]
        if key in _LARGEST and not all(isinstance(n, int) and 0 < n <= _LARGEST[key] for n in numbers):
            raise WeightsError(
                f"hf:{shown(name)}: {key} {shown(value)} in its config.json must lie between 1 and {_LARGEST[key]:,}"
            )


def _blocks(name: str, model: nn.Module, config: Any) -> list[nn.Module]:
    """The list of blocks in a model, found by its length."""
    depth = getattr(config, "num_hidden_layers", 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    raise WeightsError(
        f"hf:{shown(name)} is not a transformer with a list of blocks; give a vit, beit, dinov2 or clip model"
    )


def _preprocessing(name: str) -> dict[str, Any]:
    """mean, std and the view by preprocessor_config.json; {} where there is none."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        found, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        log.warning("hf:%s has no preprocessor_config.json; ImageNet's mean and deviation are taken", shown(name))
        return {}
    scale = found.get("rescale_factor", 1 / 255)
    if not found.get("do_rescale", True) or abs(float(scale) * 255 - 1) > 1e-3:
        raise WeightsError(
            f"hf:{shown(name)}: its images are not scaled to [0, 1] (rescale_factor {scale}); not supported"
        )
    view = {"preprocessing": _view(name, found)}
    if not found.get("do_normalize", True):
        return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **view}
    said = {ours: tuple(map(float, found[theirs])) for ours, theirs in _STATISTICS.items() if theirs in found}
    return {**said, **view}


def _view(name: str, found: dict[str, Any]) -> Preprocessing:
    """How an image is resized and cropped: the share of the resized image that is cropped, and the interpolation.

    What the library squeezes to a square is covered and cropped here: no image is distorted.
    """
    resized = _shorter(found.get("size")) if found.get("do_resize", True) else 0
    cropped = _shorter(found.get("crop_size")) if found.get("do_center_crop", "crop_size" in found) else resized
    ratio = found.get("crop_pct") or (cropped / resized if resized and cropped else 1.0)
    kind = found.get("resample", _BICUBIC)
    if kind not in _INTERPOLATIONS:
        log.warning("hf:%s resizes by Pillow's filter %s; bicubic is taken", shown(name), shown(str(kind)))
    return Preprocessing(
        keep_exact=False, crop_ratio=min(1.0, float(ratio)), interpolation=_INTERPOLATIONS.get(kind, "bicubic")
    )


def _shorter(size: Any) -> int:
    """The shorter side of a size as the library writes it: a number, or a table; 0 where it says none."""
    if isinstance(size, dict):
        sides = [size[key] for key in ("shortest_edge", "height", "width") if isinstance(size.get(key), int)]
        return min(sides, default=0)
    return size if isinstance(size, int) else 0
