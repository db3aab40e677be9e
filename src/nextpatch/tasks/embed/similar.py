"""The nearest images of an index of features."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.config import ConfigError, from_dict, to_dict
from nextpatch.core.errors import FileError
from nextpatch.core.output import check_file, picture_kind, save_picture
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.data.loader import eval_batches
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.sources import held, shipped
from nextpatch.data.sources.listed import ListedSource
from nextpatch.data.sources.source import Samples
from nextpatch.model.config import InferenceAttention
from nextpatch.tasks.embed.columns import facts_of, feature_columns, rows_in, tables_of
from nextpatch.tasks.embed.output import arrays
from nextpatch.tasks.embed.picture import Neighbor, Originals, draw
from nextpatch.tasks.embed.shard import Columns
from nextpatch.weights.classifier import attention_in
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.names import from_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureIndex:
    """Vectors with the names of their images, and what the file of them says of how they were made."""

    location: Path
    features: Float[Tensor, "images dim"]
    names: Sequence[str]
    facts: dict[str, Any]


def similar(
    query: Path, index: Path, out: Path, top: int, weights: str = "", device: str = "auto", data: str = ""
) -> list[Neighbor]:
    """The `top` images of the index nearest to the query, nearest first; `out` becomes their picture.

    Features are standardized by the index, as for nearest-neighbor probes, and compared by their cosine. ConfigError
    when `index` holds no vectors, or when the weights are not those that it was made with. What `weights` and `data` do
    not say is taken from the index, as far as it runs no code and follows no URL.
    """
    picture_kind(out)
    check_file(out)
    opened = read_index(index)
    wanted = query_features(ListedSource([str(query)]), opened, weights, device)
    found = [Neighbor(opened.names[row], value) for row, value in nearest(wanted, opened.features, top)]
    save_picture(draw(str(query), found, Originals(data or data_of(opened)).__getitem__), out)
    return found


def read_index(index: Path) -> FeatureIndex:
    """The vectors of a .parquet file or a folder of them; ConfigError where it does not hold one for each image."""
    files = sorted(index.glob("part-*.parquet")) if index.is_dir() else [index]
    if not files or not files[0].exists():
        raise ConfigError(
            f"{index} does not exist or holds no features; write them: "
            f"nextpatch embed DATA --weights WEIGHTS --out {index}"
        )
    if files == [index] and index.suffix != ".parquet":
        raise ConfigError(
            f"{shown(index)} is not an index; embed into a .parquet file or a folder: --out photos.parquet"
        )
    if index.is_dir():
        _tell_missing(index, files)
    filled = [file for file in files if rows_in(file)]
    facts = facts_of(filled[0]) if filled else {}
    columns = feature_columns(filled[0]) if facts else []
    if len(columns) != 1 or facts["kind"] != "vector":
        raise ConfigError(
            f"{index} does not hold one vector for each image; embed without --pool patches, --each-layer"
        )
    features = torch.from_numpy(np.concatenate(list(arrays(filled, columns[0])))).float()
    if not bool(torch.isfinite(features).all()):
        raise ConfigError(
            f"{shown(index)} holds features that are not finite; embed again with weights that are not damaged"
        )
    names = [path for file in filled for table in tables_of(file, ["path"]) for path in table.column(0).to_pylist()]
    return FeatureIndex(index, features, names, facts)


def _tell_missing(index: Path, files: Sequence[Path]) -> None:
    """Say how many parts of a folder of features are not there: none of their images can be found."""
    plan = index / "plan.json"
    if not plan.is_file():
        return
    facts = read_json(plan, "a plan of features", "embed again into another folder")
    images, at_a_time = facts.get("images"), facts.get("shard_images")
    if type(images) is int and type(at_a_time) is int and at_a_time > 0:
        wanted = {f"part-{number:06d}.parquet" for number in range(min(-(-images // at_a_time), len(files) + 10**6))}
        if missing := sorted(wanted - {file.name for file in files}):
            log.warning(
                "%s lacks %d of %d parts (the first: %s), whose images cannot be found; the same nextpatch embed makes "
                "them",
                shown(index), len(missing), len(wanted), missing[0],
            )  # fmt: skip


def place_of_images(index: Path, data: str) -> str:
    """The collection that was embedded, as `similar` takes it; empty where the index does not say."""
    files = sorted(index.glob("part-*.parquet")) if index.is_dir() else [index]
    try:
        return data or str(facts_of(files[0]).get("data", ""))
    except (FileError, OSError, IndexError):
        return ""  # similar says what is wrong


def data_of(index: FeatureIndex) -> str:
    """The collection that the index names where it lies on this machine: a file must not choose what is fetched."""
    data = str(index.facts.get("data", ""))
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|//", data) and not data.startswith((shipped.PREFIX, held.PREFIX)):
        log.warning("%s is of %s, which is fetched only if it is given as --data", shown(index.location), shown(data))
        return ""
    return data


def nearest(query: Float[Tensor, " dim"], features: Float[Tensor, "images dim"], top: int) -> list[tuple[int, float]]:
    """(row, cosine) of the nearest rows, after both are standardized by the rows."""
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    bank = torch.nn.functional.normalize((features - mean) / scale, dim=1)
    wanted = torch.nn.functional.normalize((query - mean) / scale, dim=0)
    values, rows = (bank @ wanted).topk(min(top, len(bank)))
    return list(zip(rows.tolist(), values.tolist(), strict=True))


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
    columns = Columns(facts["pool"], backbone.about.layers, False)
    about = backbone.about
    said: Any = facts.get("preprocessing", to_dict(about.preprocessing))
    reading = from_dict(Preprocessing, said, shown(index))
    [batch] = eval_batches(query, np.arange(1), about.img_size, about.in_chans, 1, preprocessing=reading)
    found = columns(InferenceModel.of(backbone, device), batch.images, batch.keys)
    return torch.from_numpy(next(iter(found.values()))[0]).float()


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
