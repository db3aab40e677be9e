"""Features of a collection in memory, with the names of its images: the numbers that `embed` writes into a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from rich.console import Console

from nextpatch.core.progress import Meter
from nextpatch.data.loader import eval_batches
from nextpatch.data.skipped import Bad, by_kind
from nextpatch.data.sources.source import Samples
from nextpatch.data.survey import refuse_other_channels
from nextpatch.measure.table import Table, data_frame
from nextpatch.model.precision import resolve_precision
from nextpatch.tasks.embed.config import Pool
from nextpatch.tasks.embed.shard import FEATURES, Columns
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.classifier import attention_facts
from nextpatch.weights.inference import InferenceModel

_SHOWN = 5  # rows, and numbers of each, in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """What a model computes of images. Row by row belong together `array`, `names` and `indices`.

    `array`: float32, "images values" or "images patches dim". `indices`: of the images among those that were given,
    from 0; `skipped` are those that could not be decoded, with the reason, and have no row. `pool`, `layers`: how the
    patches of an image became one vector, and of which blocks.
    """

    array: Float32[np.ndarray, "images ..."]
    names: tuple[str, ...]
    indices: Int64[np.ndarray, " images"]
    skipped: Bad
    pool: Pool
    layers: tuple[str, ...]
    model: Backbone = field(repr=False)
    images: Samples = field(repr=False)

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """So that numpy takes it as it is."""
        return np.array(self.array, dtype, copy=copy) if copy is not None else np.asarray(self.array, dtype)

    def table(self) -> Table:
        """The first rows."""
        shape = " x ".join(map(str, self.array.shape))
        rows = [
            [name, " ".join(f"{value:.3f}" for value in row.flat[:_SHOWN]) + " ..."]
            for name, row in zip(self.names[:_SHOWN], self.array, strict=False)
        ]
        left_out = f"; left out: {by_kind(self.skipped)}" if self.skipped else ""
        how = [self.pool, f"{len(self.layers)} blocks", *attention_facts(self.model.about.attention).values()]
        title = f"Features {shape} of {self.model.about.name} ({', '.join(how)}){left_out}"
        return Table(title, ["image", "values"], rows, "..." if len(self) > _SHOWN else "")

    def __repr__(self) -> str:
        """The table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: a row for each image by its name, a column for each value (f0, f1 ...)."""
        rows = self.array.reshape(len(self), -1)
        columns = [f"f{i}" for i in range(rows.shape[1])]
        frame = data_frame([dict(zip(columns, row, strict=True)) for row in rows.tolist()])
        frame.index = list(self.names)
        return frame


@torch.no_grad()
def features_of(
    model: Backbone,
    images: Samples,
    pool: Pool = "auto",
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "auto",
    console: Console | None = None,
) -> Features:
    """The features of every image that can be decoded, on the device that the model is on; the model stays as it is.

    Raises DataError where no image can be decoded, WeightsError for features that are not finite, or where `pool`
    needs a classifier and there is none.
    """
    about, columns, bad = model.about, Columns.of(model, pool), Bad()
    inference = InferenceModel(model, model.device, resolve_precision(precision, model.device))
    refuse_other_channels(images, about.in_chans, about.preprocessing)
    rows, names, indices = [], [], []
    with Meter("features of", len(images), console=console) as meter:
        for batch in eval_batches(
            images, np.arange(len(images)), about.img_size, about.in_chans, batch_size, workers, bad,
            about.preprocessing,
        ):  # fmt: skip
            rows.append(columns.values(inference, batch.images, batch.keys)[FEATURES].float().cpu().numpy())
            names += batch.keys
            indices.append(batch.positions.numpy())
            meter.add(len(batch.keys))
    return Features(
        np.concatenate(rows), tuple(names), np.concatenate(indices), bad, columns.pool, columns.layers, model, images
    )
