"""A small model in the released layout, in every form in which such weights come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

CONFIG: dict[str, Any] = {
    "img_size": 28, "patch_size": 14, "embed_dim": 32, "num_blocks": 8, "num_heads": 4, "probe_layers": [3, 4],
    "num_classes": 5,
}  # fmt: skip


def state_of(c: dict[str, Any], seed: int = 0, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors with the names and shapes of the released files, written down here once more."""
    generator = torch.Generator().manual_seed(seed)
    d, patch, chans = c["embed_dim"], c["patch_size"], c.get("num_channels", 3)

    def tensor(*shape: int) -> Tensor:
        if device == "meta":
            return torch.empty(shape, device="meta")
        return torch.randn(shape, generator=generator) * 0.1

    state = {"preprocessor.patchifier.proj.weight": tensor(d, chans, patch, patch)}
    for name in ("proj.bias", "norm.weight", "norm.bias"):
        state[f"preprocessor.patchifier.{name}"] = tensor(d)
    for n in range(c["num_blocks"]):
        block = {"attn.qkv": (3 * d, d), "attn.proj": (d, d), "mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
        state |= {f"trunk.blocks.{n}.{name}.weight": tensor(*shape) for name, shape in block.items()}
        for norm in ("norm_1", "norm_2"):
            state |= {f"trunk.blocks.{n}.{norm}.{kind}": tensor(d) for kind in ("weight", "bias")}
    state |= {f"trunk.post_trunk_norm.{kind}": tensor(d) for kind in ("weight", "bias")}
    state |= {f"head.{name}.weight": tensor(d, d) for name in ("k", "v")}
    state |= {"head.cls_token": tensor(1, 1, d), "head.linear.weight": tensor(c["num_classes"], d)}
    state |= {"head.bn.running_mean": tensor(d), "head.bn.running_var": tensor(d).abs() + 1}
    return {**state, "head.bn.num_batches_tracked": torch.tensor(7, device=device)}


def write_snapshot(folder: Path, state: dict[str, Tensor], config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_pair(folder: Path, state: dict[str, Tensor], head: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"backbone.pth": False, f"{head}.pth": True}
    for name, wanted in parts.items():
        torch.save({k: v for k, v in state.items() if k.startswith("head.") == wanted}, folder / name)
    return "+".join(str(folder / name) for name in parts)
