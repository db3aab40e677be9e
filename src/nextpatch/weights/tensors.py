"""Tensors of a file, mapped into memory and not read before they are used: safetensors, or .pth without its code."""

from __future__ import annotations

import json
import math
import mmap
import pickle
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextpatch.weights.error import WeightsError

_KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE, which Python has no name for before 3.13
_WRAPPED = ("state_dict", "model", "module")  # names under which training scripts put a state


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, the file's own metadata); a .pth file is opened as tensors only, never as Python objects.

    WeightsError when it is neither, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle's own versions: what they may hold is checked all the same
            found = _pth(path)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path} cannot be opened as tensors alone ({reason}); it is damaged, or holds Python objects, which are "
            "never loaded. Save it again as .safetensors"
        ) from None
    state: Any = found
    for name in _WRAPPED:
        state = state[name] if isinstance(state, dict) and isinstance(state.get(name), dict) else state
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no tensors by name; give the file of a model's state")
    return {str(name): tensor for name, tensor in state.items()}, {}


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); get it again") from None
    except RuntimeError as error:  # torch reserves memory for the whole file, though it is never written to
        if "mmap" not in str(error):
            raise
        return mapped(path)


def mapped(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file larger than the memory: mapped without memory being set aside for it."""
    flags = mmap.MAP_PRIVATE | (_NO_RESERVE if sys.platform == "linux" else 0)
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    start = 8 + int.from_bytes(whole[:8], "little")
    try:
        header = json.loads(whole[8:start])
        facts = header.pop("__metadata__", {})
        tensors = {name: _view(whole, start, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); get it again") from None
    return tensors, facts


def _view(whole: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Tensor:
    """One tensor in the mapped file; ValueError when it does not lie in it."""
    kind, shape, (first, last) = _KINDS[entry["dtype"]], entry["shape"], entry["data_offsets"]
    count = math.prod(shape)
    if not 0 <= first <= last <= len(whole) - start or last - first != count * kind.itemsize:
        raise ValueError(f"offsets {first} to {last} do not fit")
    if not count:
        return torch.empty(shape, dtype=kind)
    flat = torch.frombuffer(whole, dtype=torch.uint8, count=last - first, offset=start + first)
    return flat.view(kind).view(shape)


def _pth(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):  # files from before PyTorch 1.6 cannot be mapped
            raise
        return torch.load(path, map_location="cpu", weights_only=True)


def joined(parts: list[tuple[Path, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The tensors of several files as one state; WeightsError when two hold the same name."""
    out: dict[str, Tensor] = {}
    for path, state in parts:
        if twice := sorted(out.keys() & state.keys()):
            raise WeightsError(f"{path} holds {', '.join(twice[:3])} once more; give one backbone and one head")
        out.update(state)
    return out
