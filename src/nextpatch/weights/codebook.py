"""The public DALL-E / FLAVA codebook by a name, that of a file, a snapshot or a model of the Hub, as a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown
from nextpatch.tokenizer.artifact import Artifact
from nextpatch.tokenizer.codebook_fit import measured_codebook
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.dalle import CodebookSizes, sizes_of
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.views import Views
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


def fit_codebook(views: Views, options: FitOptions, patch_size: int, seed: int) -> Artifact:
    """The tokenizer of `options.weights`, whose codes are measured on views; nothing is learned.

    ConfigError for another number of codes than the weights have.
    """
    sizes, tensors = codebook_tensors(options.weights)
    if options.codes not in (sizes.codes, FitOptions.codes):
        raise ConfigError(f"{shown(options.weights)} has {sizes.codes:,} codes, not {options.codes:,}; leave codes out")
    return measured_codebook(views, sizes, tensors, patch_size, min(views.images, options.coded_images))


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
