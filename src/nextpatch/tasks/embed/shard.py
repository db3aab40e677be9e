"""One shard of features: computed, written aside, and there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float16
from torch import Tensor

from nextpatch.core.files import replacing
from nextpatch.core.text import escape_for_utf8
from nextpatch.data.loader import Batch
from nextpatch.data.skipped import Bad
from nextpatch.tasks.embed.columns import Digests, content_of, metadata_of
from nextpatch.tasks.embed.config import Pool
from nextpatch.weights.backbone import Backbone, mean_of
from nextpatch.weights.error import WeightsError
from nextpatch.weights.finite import check_features_finite
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.pooling import MOST_VALUES, RegionMeans, regions_for

FEATURES = "features"
Compute = Callable[[Tensor, Sequence[str]], dict[str, Any]]  # images, what they are called -> columns


@dataclass(frozen=True)
class Columns:
    """What is computed of an image: one array by the name of its column."""

    pool: Pool  # never "auto"
    layers: tuple[str, ...]
    each_layer: bool
    regions: RegionMeans = field(default_factory=RegionMeans)

    @classmethod
    def of(cls, backbone: Backbone, pool: Pool = "auto", each_layer: bool = False) -> Columns:
        """As asked for; WeightsError when attention is asked for and the weights have no classifier for the layers, or
        regions and their grid or width leaves none."""
        about = backbone.about
        regions = backbone.regions if pool == "auto" else regions_for(about.num_patches, about.img_size, about.dim)
        if pool == "auto" and backbone.classifier is not None and not each_layer:
            pool = "attention"
        elif pool == "auto":
            pool = "regions" if regions.side > 1 else "mean"
        if pool == "attention" and (backbone.classifier is None or each_layer):
            raise WeightsError(
                f"{backbone.about.name} has no classifier that reads these layers with {backbone.about.attention} "
                "attention, so nothing says what to attend to; use --pool mean, or leave --layers and --attention out"
            )
        if pool == "regions" and regions.side == 1:
            raise WeightsError(
                f"{about.name} gives {about.num_patches} patches of {about.dim:,} values; regions need a grid of "
                f"at least 2 x 2 and at most {MOST_VALUES:,} values together; use --pool mean"
            )
        return cls(pool, about.layers, each_layer, regions)

    @property
    def facts(self) -> dict[str, Any]:
        """How one vector is made, as files of features say it."""
        return {"pool": self.pool, **({"regions": self.regions.side} if self.pool == "regions" else {})}

    def width(self, dim: int, num_patches: int) -> int:
        """Values of an image in one column."""
        return {"patches": num_patches * dim, "regions": self.regions.width(dim)}.get(self.pool, dim)

    def __call__(
        self, inference: InferenceModel, images: Tensor, keys: Sequence[str]
    ) -> dict[str, Float16[np.ndarray, "images ..."]]:
        """The columns of a batch; WeightsError, naming layer and image, for features that are not finite."""
        return {name: _half(values) for name, values in self.values(inference, images, keys).items()}

    def values(
        self, inference: InferenceModel, images: Tensor, keys: Sequence[str]
    ) -> dict[str, Float[Tensor, "images ..."]]:
        """The same as they are computed, float32 on the device."""
        features = inference.features(images, self.layers)
        check_features_finite(features, keys, inference.backbone.about.name)
        if self.each_layer:
            return {layer: self._pooled(inference, features[layer].float()) for layer in self.layers}
        return {FEATURES: self._pooled(inference, mean_of(features, self.layers))}

    def _pooled(self, inference: InferenceModel, features: Tensor) -> Tensor:
        if self.pool == "patches":
            return features
        by = {"regions": self.regions, "mean": RegionMeans()}.get(self.pool, inference.backbone.pool)
        pooled: Tensor = by(features)
        return pooled


def _half(values: Tensor) -> Float16[np.ndarray, "images ..."]:
    """float16; what is too large for it becomes its largest number, never infinity."""
    top = float(np.finfo(np.float16).max)
    found: np.ndarray = values.detach().clamp(-top, top).half().cpu().numpy()
    return found


def write_shard(
    path: Path,
    facts: dict[str, Any],
    batches: Iterator[Batch],
    compute: Compute,
    advance: Callable[[int], None],
    positions: Mapping[str, int],
) -> None:
    """Features of these batches as one Parquet file; what could not be decoded is named in its metadata."""
    bad: Bad = {}
    tables = []
    for batch in batches:
        bad |= batch.bad
        found = {name: _column(values) for name, values in compute(batch.images, batch.keys).items()}
        heights, widths = (pa.array(sides, pa.int32()) for sides in zip(*batch.sizes, strict=True))
        paths = pa.array(map(escape_for_utf8, batch.keys), pa.string())
        tables.append(pa.table({"path": paths, "height": heights, "width": widths, **found}))
        advance(len(batch.keys))
    write_table(path, tables, facts, bad, positions)


def write_table(
    path: Path, tables: Sequence[pa.Table], facts: Mapping[str, Any], bad: Bad, positions: Mapping[str, int]
) -> None:
    """There whole or not at all, with digests of what is in it; `positions` in the collection, of what was left out."""
    table = pa.concat_tables(tables) if tables else pa.table({"path": pa.array([], pa.string())})
    digests = Digests()
    digests.add(table)
    lost = {key: [*entry, positions.get(key)] for key, entry in bad.items()}
    said = metadata_of(facts, lost) | content_of(facts, lost, digests.values())
    table = table.replace_schema_metadata(said)
    with replacing(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def _column(values: Float16[np.ndarray, "images ..."]) -> pa.Array:
    """A list of fixed length for each image; the shape of several axes stands in the metadata."""
    flat = pa.array(values.reshape(-1), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
