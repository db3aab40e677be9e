"""An index of features: the vectors of a file or of a folder of shards, with the names of their images."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.config import ConfigError
from nextpatch.core.errors import FileError
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.data.sources import held, shipped
from nextpatch.tasks.embed.columns import facts_of, feature_columns, rows_in, tables_of
from nextpatch.tasks.embed.nearest import ROWS
from nextpatch.tasks.embed.output import arrays

log = logging.getLogger(__name__)
_DECIDE = ("weights_sha256", "layers", "attention", "pool", "regions", "img_size", "preprocessing")  # facts of vectors


@dataclass(frozen=True)
class FeatureIndex:
    """Vectors with the names of their images, and what the files of them say of how they were made."""

    location: Path
    files: tuple[Path, ...]  # none of them empty
    column: str
    names: Sequence[str]
    facts: dict[str, Any]

    def pieces(self) -> Iterator[Float[Tensor, "rows dim"]]:
        """All vectors in order, float32, some thousands at a time; ConfigError for numbers that are not finite."""
        for rows in arrays(self.files, self.column):
            for start in range(0, len(rows), ROWS):
                piece = torch.from_numpy(rows[start : start + ROWS].astype(np.float32))
                if not bool(torch.isfinite(piece).all()):
                    raise ConfigError(
                        f"{shown(self.location)} holds features that are not finite; embed again with weights that are "
                        "not damaged"
                    )
                yield piece


def read_index(index: Path) -> FeatureIndex:
    """The vectors of a .parquet file or a folder of them, which are read when they are asked for.

    ConfigError where it does not hold one for each image, or where files were made in different ways.
    """
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
        tell_missing(index, files)
    filled = tuple(file for file in files if rows_in(file))
    facts = facts_of(filled[0]) if filled else {}
    columns = feature_columns(filled[0]) if facts else []
    if len(columns) != 1 or facts["kind"] != "vector":
        raise ConfigError(
            f"{index} does not hold one vector for each image; embed without --pool patches, --each-layer"
        )
    _refuse_mix(filled, facts)
    names = [path for file in filled for table in tables_of(file, ["path"]) for path in table.column(0).to_pylist()]
    return FeatureIndex(index, filled, columns[0], names, facts)


def _refuse_mix(files: Sequence[Path], facts: dict[str, Any]) -> None:
    """ConfigError where vectors of some files cannot be compared with those of the first."""
    for file in files[1:]:
        others = facts_of(file)
        if other := [name for name in _DECIDE if others.get(name) != facts.get(name)]:
            raise ConfigError(
                f"{shown(file)} was made with other {', '.join(other)} than {shown(files[0].name)} beside it, so their "
                "vectors cannot be compared; embed all images in the same way into one folder"
            )


def tell_missing(index: Path, files: Sequence[Path]) -> None:
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
