"""Features on the disk, bfloat16 and mapped into memory: for labels too many to keep, measured more than once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int64
from torch import Tensor

from nextpatch.train.checkpoint import sync
from nextpatch.train.run import write_atomically


class Group(NamedTuple):
    """Features of some images, and which images they are."""

    features: Float[Tensor, "sets batch patches dim"]
    indices: Int64[np.ndarray, " batch"]


class Cached(NamedTuple):
    """All that could be decoded; the features are read from the disk as they are used."""

    features: BFloat16[Tensor, "sets images patches dim"]
    indices: Int64[np.ndarray, " images"]


def cached(folder: Path, key: list[str], planned: int, groups: Iterator[Group]) -> Cached:
    """The features of `groups`, or those that an earlier call with the same `key` has left in `folder`.

    `key` says everything that decides them: weights, layers, images, view. Of a call that did not end nothing is used.
    """
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    data, facts = folder / f"{name}.bf16", folder / f"{name}.json"
    if not facts.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = data.with_name(f".{data.name}.unfinished")
        write_atomically(facts, json.dumps({**_written(aside, planned, groups), "key": key}))
        aside.replace(data)
    found = json.loads(facts.read_text(encoding="utf-8"))
    if not data.exists():  # killed between the two renames
        facts.unlink()
        return cached(folder, key, planned, groups)
    return Cached(_mapped(data, found["shape"]).transpose(0, 1), np.array(found["indices"], dtype=np.int64))


def _written(path: Path, planned: int, groups: Iterator[Group]) -> dict[str, object]:
    """Image by image, so that one image's features lie together; the file is cut to what there is at the end."""
    whole: Tensor | None = None
    shape: list[int] = []
    indices: list[int] = []
    for features, which in groups:
        if whole is None:
            shape = [len(features), *features.shape[2:]]
            path.unlink(missing_ok=True)
            whole = _mapped(path, [planned, *shape], create=True)
        whole[len(indices) : len(indices) + len(which)] = features.transpose(0, 1)
        indices += which.tolist()
    assert whole is not None  # an extractor raises when it has nothing to give
    del whole
    with path.open("r+b") as file:
        file.truncate(2 * len(indices) * int(np.prod(shape)))
    sync(path)
    return {"shape": [len(indices), *shape], "indices": indices}


def _mapped(path: Path, shape: list[int], create: bool = False) -> Tensor:
    # read, it is never written to; but torch has no read-only tensors
    raw: Any = np.memmap(path, np.int16, "w+" if create else "r+", shape=tuple(shape))
    return torch.from_numpy(raw).view(torch.bfloat16)
