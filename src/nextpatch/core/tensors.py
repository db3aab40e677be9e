"""Tensors as a safetensors file with a digest in its metadata, and back, mapped into memory and checked."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nextpatch.core.errors import FileError, UserError
from nextpatch.core.files import DIGEST, UNFINISHED, replacing
from nextpatch.core.text import shown

_CHUNK = 2**22  # bytes read at a time, so that checking a file of any size takes no memory
_LARGEST_HEADER = 2**27
_NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE, which Python has no name for before 3.13
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Replace a safetensors file in one step, with a digest of its tensors and metadata in the metadata.

    It is written by way of a folder: the library writes under a name of its own choice, which after a kill nobody would
    remove. OSError when the disk is full.
    """
    plain = _on_cpu(tensors)
    facts = {key: value for key, value in (metadata or {}).items() if key != DIGEST}
    with replacing(path) as aside:
        folder = aside.with_name(f"{aside.name.removesuffix(UNFINISHED)}.room{UNFINISHED}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            write_safetensors(folder / "tensors", plain, {**facts, DIGEST: digest_of_tensors(plain, facts)})
            (folder / "tensors").replace(aside)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        aside.chmod(path.parent.stat().st_mode & 0o666)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file in a folder that is itself published whole, as a checkpoint's; no digest is added.

    It is readable by whoever may read its folder (the library alone makes it private). OSError when the disk is full.
    """
    try:
        save_file(_on_cpu(tensors), path, metadata)
    except SafetensorError as error:  # what a full disk looks like from there
        raise OSError(f"{path} cannot be written: {error}") from error
    path.chmod(path.parent.stat().st_mode & 0o666)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def read_safetensors(
    path: Path, what: str, remedy: str, error: type[UserError] = FileError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, the file's own metadata), mapped, after the digest was checked where there is one.

    `what` says what the file should be, `remedy` what to do when it is not; raises `error` with both.
    """
    if not path.is_file():
        raise error(f"{shown(path)} does not exist; {remedy}")
    if reason := damage(path):
        raise error(f"{shown(path)} cannot be read as {what} ({reason}); {remedy}")
    try:
        found, facts = _opened(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, KeyError, TypeError, MemoryError) as reason:
        text = shown(" ".join(str(reason).split())[:200])
        raise error(f"{shown(path)} cannot be read as {what} ({text}); {remedy}") from None
    facts.pop(DIGEST, None)
    return found, facts


def _opened(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, RuntimeError) as error:
        if "mmap" not in str(error):
            raise
        return mapped(path)  # torch reserves memory for the whole file, though it is never written to


def mapped(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file larger than the memory: mapped without memory being set aside for it.

    ValueError, KeyError or OSError where it cannot be.
    """
    header, start = read_header(path)
    facts = header.pop("__metadata__", {})
    flags = mmap.MAP_PRIVATE | (_NO_RESERVE if sys.platform == "linux" else 0)
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return {name: _view(whole, start, entry) for name, entry in header.items()}, facts


def _view(whole: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Tensor:
    """One tensor in the mapped file; ValueError when its place has not its size."""
    dtype, shape, (first, last) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    count = math.prod(shape)
    if last - first != count * dtype.itemsize:
        raise ValueError(f"offsets {first} to {last} do not fit")
    if not count:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(whole, dtype=torch.uint8, count=last - first, offset=start + first)
    return flat.view(dtype).view(shape)


def damage(path: Path) -> str:
    """What is wrong with a safetensors file by its header and by its own digest; empty when nothing is.

    A file without a digest, as other programs write them, passes when its header is sound. Reads the file once where
    there is a digest, in pieces.
    """
    try:
        header, start = read_header(path)
        facts = header.pop("__metadata__", {})
        stated = facts.pop(DIGEST, None)
        like = [facts[key] for key in facts if len(key) == len(DIGEST)]
        if stated is None and any(re.fullmatch(r"[0-9a-f]{64}", value) for value in like):
            return "the name of its digest is not the one that was written: it is damaged"
        if stated is not None and _digest_in(path, header, start, facts) != stated:
            return "its contents are not those that were written: it is damaged"
    except (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as reason:
        return shown(" ".join(str(reason).split())[:200]) or type(reason).__name__
    return ""


def digest_of_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """SHA-256 of tensors on the CPU and of metadata: what `save_safetensors` writes into the file."""
    total = _begun(facts)
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(_line(name, _NAMES[tensor.dtype], tensor.shape))
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _digest_in(path: Path, header: Mapping[str, Any], start: int, facts: Mapping[str, str]) -> str:
    total = _begun(facts)
    with path.open("rb") as file:
        for name in sorted(header):
            entry = header[name]
            total.update(_line(name, entry["dtype"], entry["shape"]))
            first, last = entry["data_offsets"]
            file.seek(start + first)
            for at in range(first, last, _CHUNK):
                total.update(file.read(min(_CHUNK, last - at)))
    return total.hexdigest()


def _begun(facts: Mapping[str, str]) -> hashlib._Hash:
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())


def _line(name: str, dtype: str, shape: Any) -> bytes:
    return f"\n{name} {dtype} {list(shape)}\n".encode()


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(the file's header, where its data begin); ValueError when tensors do not lie inside of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LARGEST_HEADER):
            raise ValueError("it does not begin as a safetensors file")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= size - 8 - length or math.prod(entry["shape"]) < 0:
                raise ValueError(f"{name} does not lie in it: it is cut off or damaged")
    return header, 8 + length
