"""Features on the disk, as they were computed and mapped into memory: for labels too many to keep, measured again."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nextpatch.core.errors import FileError
from nextpatch.core.files import digest_of_json, replacing, write_json
from nextpatch.core.output import check_folder
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.core.writer import only_writer

log = logging.getLogger(__name__)
_CHUNK = 2**22


class FeatureBatch(NamedTuple):
    """Features of some images, one entry on the first axis per layer set, and which images they are."""

    features: Float[Tensor, "sets batch patches dim"]
    indices: Int64[np.ndarray, " batch"]  # in the source


class Cached(NamedTuple):
    """All that could be decoded; the features are read from the disk as they are used."""

    features: Float[Tensor, "sets images patches dim"]
    indices: Int64[np.ndarray, " images"]


def cached(folder: Path, key: dict[str, Any], groups: Iterator[FeatureBatch], needed_bytes: int = 0) -> Cached:
    """The features of `groups`, or those that an earlier call with the same `key` has left in `folder`.

    `key` says everything that decides them: weights, layers, images and their contents, view. They are float32, not
    rounded: what is chosen by them is chosen as without a cache. Features that are not as they were written (cut off,
    damaged, of a call that did not end) are computed again. UserError, before that, when `needed_bytes` are not free;
    OSError when the disk is full.
    """
    key = json.loads(json.dumps(key))  # as it will be read again
    name = digest_of_json(key)[:32]
    data, facts = folder / f"{name}.f32", folder / f"{name}.json"
    found = _sound(data, facts, key)
    if found is None:
        check_folder(folder, needed_bytes)
        with only_writer(data, "probe", file=True):
            found = {**_written(data, groups), "key": key}
            write_json(facts, found)
    return Cached(_mapped(data, found["shape"]).transpose(0, 1), np.array(found["indices"], dtype=np.int64))


def _sound(data: Path, facts: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """What is known of the features of an earlier call; None when there are none, or other than were written."""
    if not facts.exists() or not data.exists():
        return None
    try:
        found = read_json(facts, "the facts of kept features", "they are computed again")
        sound = found["key"] == key and data.stat().st_size == 4 * math.prod(found["shape"])
        if sound and len(found["indices"]) == found["shape"][0] and _digest(data) == found["content"]:
            return found
    except (FileError, KeyError, TypeError, ValueError, IndexError):
        pass
    log.warning("%s has changed since it was written; the features are computed again", shown(data))
    return None


def _written(path: Path, groups: Iterator[FeatureBatch]) -> dict[str, Any]:
    """Image by image, so that one image's features lie together; what is on the disk is then known by its digest."""
    total, shape, indices = hashlib.sha256(), list[int](), list[int]()
    with replacing(path) as aside, aside.open("wb") as file:
        for features, which in groups:
            shape = [len(features), *features.shape[2:]]
            bytes_of = features.transpose(0, 1).float().cpu().contiguous().numpy().tobytes()
            total.update(bytes_of)
            file.write(bytes_of)
            indices += which.tolist()
    return {"shape": [len(indices), *shape], "indices": indices, "content": total.hexdigest()}


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            total.update(piece)
    return total.hexdigest()


def _mapped(path: Path, shape: list[int]) -> Tensor:
    """The file in memory as it is needed; nothing that is done to the tensor reaches the file."""
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=torch.float32).view(shape)
