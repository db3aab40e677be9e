"""The nearest images of a query in an index: its vector, made as those of the index were, and their picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.config import ConfigError, from_dict, to_dict
from nextpatch.core.output import check_file, picture_kind, save_picture
from nextpatch.core.text import shown
from nextpatch.data.loader import eval_batches
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.sources.listed import ListedSource
from nextpatch.data.sources.source import Samples
from nextpatch.model.config import InferenceAttention
from nextpatch.tasks.embed.config import SpaceName
from nextpatch.tasks.embed.index import FeatureIndex, data_of, read_index
from nextpatch.tasks.embed.nearest import LEAST_ROWS, NearestRows, nearest, space_of
from nextpatch.tasks.embed.picture import Neighbor, Originals, draw
from nextpatch.tasks.embed.shard import Columns
from nextpatch.weights.backbone import ModelInfo
from nextpatch.weights.classifier import attention_in
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.names import from_file
from nextpatch.weights.pooling import RegionMeans, regions_for

log = logging.getLogger(__name__)


def similar(
    query: Path,
    index: Path,
    out: Path,
    top: int,
    weights: str = "",
    device: str = "auto",
    data: str = "",
    space: SpaceName = "auto",
) -> list[Neighbor]:
    """The `top` images of the index nearest to the query, nearest first; `out` becomes their picture.

    Features are compared by their cosine in `space`, fitted to the index: whitened, or every value at its own scale.
    ConfigError when `index` holds no vectors, or when the weights are not those that it was made with. What `weights`
    and `data` do not say is taken from the index, as far as it runs no code and follows no URL.
    """  # fmt: skip
    picture_kind(out)
    check_file(out)
    opened = read_index(index)
    near = nearest_in(opened, ListedSource([str(query)]), top, weights, device, space)
    if space == "auto" and len(opened.names) < LEAST_ROWS and opened.facts["pool"] != "attention":
        log.warning(
            "%d images are too few to whiten their features, which are only standardized (--space whitened does)",
            len(opened.names),
        )
    found = [Neighbor(opened.names[row], value) for row, value in zip(near.rows, near.cosines, strict=True)]
    save_picture(draw(str(query), found, Originals(data or data_of(opened)).__getitem__), out)
    return found


def nearest_in(
    opened: FeatureIndex, query: Samples, top: int, weights: str = "", device: str = "auto", space: SpaceName = "auto"
) -> NearestRows:
    """The rows of an index that are nearest to the first image of `query`."""
    there = space_of(opened.pieces, len(opened.names), space, opened.facts["pool"])  # a damaged index is told first
    return nearest(query_features(query, opened, weights, device), opened.pieces, top, there)


def query_features(
    query: Samples, opened: FeatureIndex, weights: str = "", device: str = "auto"
) -> Float[Tensor, " dim"]:
    """The vector of the first image of `query`, by the weights of the index, or those that `weights` names now."""
    facts, index = opened.facts, opened.location
    layers = ",".join(str(layer).removeprefix("block_") for layer in facts["layers"])
    name = weights or from_file(facts.get("weights"), index)
    backbone = load(name)
    size, attention = _size_of(facts, index), _attention_of(facts, index)
    seen = list(backbone.about.layers), backbone.about.attention
    if seen != (facts["layers"], attention) or size not in (None, backbone.about.img_size):
        backbone = load(name, layers=layers, img_size=size, attention=attention)
    if backbone.digest() != facts["weights_sha256"]:
        raise ConfigError(
            f"{backbone.about.name} are not the weights of the index any more (SHA-256 differs); give those as "
            "--weights, or embed again"
        )
    about = backbone.about
    columns = Columns(facts["pool"], about.layers, False, _regions_of(facts, about, index))
    said: Any = facts.get("preprocessing", to_dict(about.preprocessing))
    reading = from_dict(Preprocessing, said, shown(index))
    [batch] = eval_batches(query, np.arange(1), about.img_size, about.in_chans, 1, preprocessing=reading)
    found = columns(InferenceModel.of(backbone, device), batch.images, batch.keys)
    return torch.from_numpy(next(iter(found.values()))[0]).float()


def _regions_of(facts: dict[str, Any], about: ModelInfo, index: Path) -> RegionMeans:
    """The regions whose means the vectors of an index are; ConfigError where they are others than these weights'."""
    regions = regions_for(about.num_patches, about.img_size, about.dim)
    if facts["pool"] == "regions" and facts.get("regions") != regions.side:
        raise ConfigError(f"{shown(index)}: its vectors are of other regions than {regions.name}; embed again")
    return regions


def _attention_of(facts: dict[str, Any], index: Path) -> InferenceAttention:
    """The attention that the features of an index were computed with."""
    try:
        return attention_in(facts)
    except (ValueError, TypeError):
        raise ConfigError(f"{shown(index)}: its attention is none that there is; embed again") from None


def _size_of(facts: dict[str, object], index: Path) -> tuple[int, int] | None:
    """The size that the images of an index were seen at; None where it does not say."""
    said = facts.get("img_size")
    if said is None:
        return None
    if not isinstance(said, list) or [type(side) for side in said] != [int, int]:
        raise ConfigError(f"{shown(index)}: img_size is not a height and width; embed again")
    return said[0], said[1]
