"""Tensors of a file, mapped into memory, every value looked at: safetensors, or .pth without its code."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextpatch.core.tensors import DTYPES, read_header, read_safetensors
from nextpatch.core.text import shown
from nextpatch.weights.error import WeightsError

_WRAPPED = ("state_dict", "model", "module")  # names under which training scripts put a state
_PIECE = 2**22  # bytes looked at together, so that a file of any size takes no memory
LARGEST = 1e12  # of a weight: beyond it, squares and their sums leave float32
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, the file's own metadata); a .pth file is opened as tensors only, never as Python objects.

    The digest is checked where the file has one, and every value is looked at once, in pieces. WeightsError when the
    file is neither, holds anything but tensors, or a number that is not finite or beyond LARGEST.
    """
    if not path.is_file():
        raise WeightsError(f"{shown(path)} does not exist; give a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        found, facts = read_safetensors(path, "weights", "get them again", WeightsError)
        _check(path, _pieces_of_file(path))
        return found, facts
    state = _state(path)
    _check(path, _pieces(state))
    return state, {}


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a .pth file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle's own versions: what they may hold is checked all the same
            found = _pth(path)
    except Exception as error:  # whatever the bytes are: unpickling raises anything
        reason = shown((_COLOR.sub("", str(error)).splitlines() or [""])[0][:200]) or type(error).__name__
        raise WeightsError(
            f"{shown(path)} cannot be opened as tensors alone ({reason}); it is damaged, or holds Python objects, "
            "which are never loaded. Save it again as .safetensors"
        ) from None
    state: Any = found
    for name in _WRAPPED:
        state = state[name] if isinstance(state, dict) and isinstance(state.get(name), dict) else state
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{shown(path)} holds no tensors by name; give the file of a model's state")
    for name, tensor in state.items():
        if not _is_plain(tensor):
            raise WeightsError(f"{shown(path)}: {shown(name)} is no plain tensor; save the file as .safetensors")
    return {str(name): tensor.detach() for name, tensor in state.items()}


def _pth(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):  # files from before PyTorch 1.6 cannot be mapped
            raise
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_plain(tensor: Tensor) -> bool:
    """Whether every value has its place in memory: a few bytes can name a tensor that would fill it when copied."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return dense and tensor.dtype in DTYPES.values() and tensor.nbytes <= tensor.untyped_storage().nbytes()


def _pieces(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        for part in torch.split(tensor.detach().flatten(), _PIECE):
            yield name, part


def _pieces_of_file(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The values of a safetensors file, read and not mapped: mapped pages would count as memory in use."""
    header, start = read_header(path)
    space = bytearray(_PIECE)
    with path.open("rb") as file:
        for name, entry in header.items():
            kind = DTYPES.get(entry.get("dtype", ""), torch.uint8)
            if not kind.is_floating_point:
                continue
            first, last = entry["data_offsets"]
            file.seek(start + first)
            for at in range(first, last, _PIECE):
                size = file.readinto(memoryview(space)[: min(_PIECE, last - at)])
                yield name, torch.frombuffer(space, dtype=torch.uint8, count=size).view(kind)


def facts_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; {} of any other file."""
    try:
        facts = read_header(path)[0].get("__metadata__", {}) if path.suffix == ".safetensors" else {}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def check_values(tensors: Mapping[str, Tensor], what: str | Path) -> None:
    """WeightsError, naming the tensor, where a number is not finite or beyond LARGEST."""
    _check(what, _pieces(tensors))


def _check(path: str | Path, pieces: Iterator[tuple[str, Tensor]]) -> None:
    """WeightsError, naming the tensor, for a number that is not finite or is too large."""
    for name, piece in pieces:
        if piece.is_floating_point() and len(piece):
            low, high = (float(bound) for bound in piece.aminmax())  # NaN where there is one
            if not (low > -LARGEST and high < LARGEST):
                what = "numbers that are not finite" if not math.isfinite(low + high) else f"numbers of {high:.1g}"
                raise WeightsError(
                    f"{shown(path)}: {shown(name)} holds {what}; the file is damaged, or the training that made it "
                    "went wrong. Take an earlier checkpoint, or get it again"
                )


def joined(parts: list[tuple[Path, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The tensors of several files as one state; WeightsError when two hold the same name."""
    out: dict[str, Tensor] = {}
    for path, state in parts:
        if twice := sorted(out.keys() & state.keys()):
            names = shown(", ".join(twice[:3]))
            raise WeightsError(f"{shown(path)} holds {names} once more; give one backbone and one head")
        out.update(state)
    return out
