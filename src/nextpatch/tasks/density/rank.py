"""Images by how strange a model finds them: bits per dimension, or bits beyond those of a plain file of the image."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nextpatch.core.files import write_json, write_text
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_file, save_picture
from nextpatch.core.progress import Meter
from nextpatch.core.text import escape_for_utf8
from nextpatch.data.collection import outside
from nextpatch.data.loader import eval_batches
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Samples
from nextpatch.data.survey import refuse_other_channels
from nextpatch.model.precision import resolve_device
from nextpatch.tasks.density.codecs_beside import plain_bits
from nextpatch.tasks.density.config import Against, DensityConfig
from nextpatch.tasks.density.contact_sheet import Cell, draw_cells
from nextpatch.tasks.density.weighing import image_nats, weighing_model
from nextpatch.weights.backbone import Backbone, digest_of_tensors
from nextpatch.weights.load import load

TRAP = (
    "Few bits do not make an image usual: plain images, with little texture and large even areas, cost few bits under "
    "any model, and busy ones many, whether or not the model has met their like. --against webp takes the length of a "
    "lossless file off, which leaves what the model in particular did not expect."
)


@dataclass(frozen=True)
class Weighed:
    """An image, by its place in the collection; per dimension: of each channel of each pixel."""

    image: str
    number: int
    bits_per_dim: float
    plain_bits_per_dim: float | None  # of the lossless file that it is compared with
    resized: bool  # it was not of the model's size, so these are the bits of its resized view

    @property
    def surprise(self) -> float | None:
        """Bits per dimension beyond those of the file."""
        return None if self.plain_bits_per_dim is None else self.bits_per_dim - self.plain_bits_per_dim

    @property
    def strangeness(self) -> float:
        """What images are ranked by."""
        return self.bits_per_dim if self.surprise is None else self.surprise


def weigh(
    backbone: Backbone,
    source: Samples,
    batch_size: int = 32,
    workers: int = 0,
    against: Against = "none",
    bad: Bad | None = None,
) -> list[Weighed]:
    """Every image of `source` that can be decoded, as the model sees it in measuring, the strangest first.

    Images of more than 8 bits are weighed as their 8-bit version. WeightsError for weights without likelihoods.
    """
    weighing_model(backbone)
    about, found = backbone.about, list[Weighed]()
    refuse_other_channels(source, about.in_chans, about.preprocessing)
    values = about.in_chans * math.prod(about.img_size)
    with Meter("weighing", len(source)) as meter:
        for batch in eval_batches(
            source, np.arange(len(source)), about.img_size, about.in_chans, batch_size, workers, bad,
            about.preprocessing,
        ):  # fmt: skip
            bits = image_nats(backbone, batch.images) / math.log(2) / values
            plain = [None if against == "none" else plain_bits(view, against) / values for view in batch.images]
            resized = [size != about.img_size for size in batch.sizes]
            rows = zip(batch.keys, batch.positions.tolist(), bits.tolist(), plain, resized, strict=True)
            found += [Weighed(*row) for row in rows]
            meter.add(len(batch.keys))
    return sorted(found, key=lambda one: one.strangeness, reverse=True)


def density(config: DensityConfig, bad: Bad | None = None) -> list[Weighed]:
    """`weigh`, written as a list and a contact sheet."""
    check_file(outside(config.out, [config.data]), beside=[config.sheet])
    source, backbone = open_source(config.data), load(config.weights, device=resolve_device(config.device))
    found = weigh(backbone, source, config.batch_size, config.workers, config.against, bad)
    save_picture(draw_cells(list(_cells(backbone, source, found, config.shown))), config.sheet)
    if config.out.suffix == ".csv":
        write_text(config.out, as_csv(found))
    else:
        facts = {
            MARK: "bits per dimension of images, the strangest first",
            "weights": {"name": backbone.about.name, "sha256": digest_of_tensors(backbone.aim)},
            "ranked_by": "bits_per_dim" if config.against == "none" else "surprise",
            "against": config.against, "how_to_read": TRAP, "images": [record(one) for one in found],
        }  # fmt: skip
        write_json(config.out, json.loads(escape_for_utf8(json.dumps(facts))))
    return found


def record(one: Weighed) -> dict[str, Any]:
    """Plain values of a row; what was not asked for is left out."""
    values = {"image": one.image, "bits_per_dim": one.bits_per_dim, "resized": one.resized}
    more = {"plain_bits_per_dim": one.plain_bits_per_dim, "surprise": one.surprise}
    return values | {name: value for name, value in more.items() if value is not None}


def as_csv(found: Sequence[Weighed]) -> str:
    """A header and a row for each."""
    out, rows = io.StringIO(), [record(one) for one in found]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _cells(backbone: Backbone, source: Samples, found: Sequence[Weighed], count: int) -> Iterator[Cell]:
    """The strangest and the least strange; all where there are no more."""
    shown = list(found) if len(found) <= count else [*found[: -(-count // 2)], *found[len(found) - count // 2 :]]
    about = backbone.about
    views: dict[int, torch.Tensor] = {}
    if shown:
        wanted = [one.number for one in shown]
        for batch in eval_batches(
            source, wanted, about.img_size, about.in_chans, 32, preprocessing=about.preprocessing
        ):
            views |= dict(zip(batch.positions.tolist(), batch.images, strict=True))
    for one in shown:
        said = f"{one.bits_per_dim:.3f}" if one.surprise is None else f"{one.surprise:+.3f} ({one.bits_per_dim:.3f})"
        yield Cell(views[one.number], said, one.image)
