"""Tensors of the public DALL-E / FLAVA codebook, by one name: a file, the folder of a snapshot, or one of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.tokenizer.dalle import CodebookSizes, sizes_of
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.weights.download import SNAPSHOT, first_fetched
from nextpatch.weights.error import WeightsError
from nextpatch.weights.names import HUB
from nextpatch.weights.tensors import read_tensors

PUBLIC = "facebook/flava-image-codebook"  # BSD-3-Clause
_INSIDE = "image_codebook."  # where facebook/flava-full has it
_FILES = (".safetensors", ".bin", ".pth", ".pt", ".pkl")


def codebook_tensors(spec: str) -> tuple[CodebookSizes, dict[str, Tensor]]:
    """(sizes, float32 tensors by name) of the encoder that `spec` names.

    `spec` is a file, the folder of a snapshot, or OWNER/NAME or OWNER/NAME@REVISION of the Hub, as `PUBLIC`. Files are
    opened as tensors only, never as Python objects. Raises WeightsError for what cannot be used.
    """
    path = _file(spec)
    found, _ = read_tensors(path)
    tensors = {name: tensor.float() for name, tensor in _of_encoder(found).items()}
    try:
        return sizes_of(tensors), tensors
    except TokenizerError as error:
        raise WeightsError(f"{shown(path)} cannot be used as a codebook ({error}); give {PUBLIC}") from None


def _file(spec: str) -> Path:
    path = Path(spec)
    if path.is_dir():
        file = next((path / name for name in SNAPSHOT if (path / name).is_file()), None)
        if file is None:
            raise WeightsError(f"{shown(path)} holds none of {', '.join(SNAPSHOT)}; give {PUBLIC}, or its file")
        return file
    if path.exists() or path.suffix in _FILES:
        return path
    repo, _, revision = spec.removeprefix(HUB).partition("@")
    return first_fetched(repo, SNAPSHOT, revision or None)


def _of_encoder(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the codebook, where they are some of a larger model's."""
    inside = {name.removeprefix(_INSIDE): tensor for name, tensor in found.items() if name.startswith(_INSIDE)}
    return inside or dict(found)
