"""Which number format and which device a model computes in."""

from __future__ import annotations

from typing import Literal

import torch

from nextpatch.core.errors import UserError

Dtype = Literal["fp32", "bf16"]


def resolve_device(device: str = "auto") -> torch.device:
    """ "auto" is CUDA, then MPS, then CPU; a device that is not there is a UserError."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(device, False):
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UserError(f"device '{device}' is not available here; this machine has {there}")
    return torch.device(device)


def device_of(name: torch.device | str) -> torch.device:
    """The device that Python code names, "cuda:1" or a torch.device as well; a UserError where it is not here."""
    if name == "auto":
        return resolve_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device '{name}' is unknown; give auto, cpu, cuda, cuda:1 or mps") from None
    if device.type in ("cuda", "mps"):
        resolve_device(device.type)
    return device


def resolve_precision(precision: str, device: torch.device) -> Dtype:
    """ "auto" is bfloat16 where the hardware multiplies it natively, float32 elsewhere."""
    if precision in ("fp32", "bf16"):
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16_units() else "fp32"
    return "fp32"


def _cpu_has_bf16_units() -> bool:
    """Whether this CPU multiplies bfloat16 itself; without that, bfloat16 on a CPU is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def autocast(device: torch.device, precision: Dtype) -> torch.autocast:
    """A context in which matrix products run in `precision`; residual streams, norms and the loss stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
