"""Low-rank adapters on q, v and the output projection of every attention, by peft; keys stay as they are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.config import ConfigError
from nextpatch.core.random import torch_seeded
from nextpatch.core.tensors import read_safetensors, save_safetensors
from nextpatch.model.aim import AIM
from nextpatch.model.attention import Attention
from nextpatch.weights.error import WeightsError
from nextpatch.weights.tensors import check_values

_ADAPTER = "adapter_model.safetensors"
TARGETS = r".*\.attn\.(qkv\.q|qkv\.v|proj)"


class SplitQKV(nn.Module):
    """The fused q, k, v as three matrices that share its memory: the same products, each to be adapted by itself."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        self.q, self.k, self.v = (_linear(weight) for weight in torch.split(fused.weight.detach(), fused.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """q, k and v side by side, as from the fused matrix."""
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)

    def fused(self) -> Tensor:
        """The three weights as one."""
        return torch.cat([part.weight.detach() for part in (self.q, self.k, self.v)])


def split(model: AIM) -> None:
    """Give every attention of the model a `SplitQKV`, in place."""
    for attention in _attentions(model):
        parts: Any = SplitQKV(attention.qkv)
        attention.qkv = parts


def _attentions(model: AIM) -> Iterator[Attention]:
    for module in model.trunk.modules():
        if isinstance(module, Attention):
            yield module


def _linear(weight: Tensor) -> nn.Linear:
    """A linear layer without bias around a weight that is there."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def adapted(model: AIM, rank: int, alpha: int, seed: int = 0) -> Any:
    """A PeftModel around `model`, whose own weights are frozen; at first it computes what `model` does.

    ConfigError when peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ConfigError("adapters need peft; install it with: pip install 'nextpatch[finetune]'") from None
    split(model)
    with warnings.catch_warnings(), torch_seeded(seed):  # peft draws from the global generator
        warnings.simplefilter("ignore")
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=TARGETS, bias="none")
        return get_peft_model(model, config)


def trainable(model: nn.Module) -> tuple[int, int]:
    """(values that learn, all values) of a model."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def save_adapter(peft_model: Any, folder: Path, weights: str) -> None:
    """adapter_config.json and adapter_model.safetensors, as peft writes and reads them."""
    peft_model.peft_config["default"].base_model_name_or_path = weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a config that only transformers' models have
        peft_model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    tensors, facts = read_safetensors(folder / _ADAPTER, "an adapter", "fine-tune again", WeightsError)
    save_safetensors(folder / _ADAPTER, tensors, facts)  # with a digest, which peft does not write


def load_adapter(model: AIM, folder: Path) -> Any:
    """A PeftModel around `model` with the adapters of a folder in peft's format; WeightsError when it is damaged."""
    from peft import PeftModel

    tensors, _ = read_safetensors(folder / _ADAPTER, "an adapter", "fine-tune again", WeightsError)
    check_values(tensors, folder / _ADAPTER)
    split(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(model, str(folder))


def merged(peft_model: Any) -> AIM:
    """The model with its adapters added to its weights, and q, k and v fused again: nothing of peft is left."""
    model: AIM = peft_model.merge_and_unload()
    for attention in _attentions(model):
        parts: Any = attention.qkv
        attention.qkv = _linear(parts.fused())
    return model.requires_grad_(True)
