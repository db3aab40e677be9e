"""Weights that generate, with all that a request needs of them: images in memory as they are finished."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import torch

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown
from nextpatch.data.encoding import Given
from nextpatch.model.config import ModelConfig
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.known import KnownPixels, seen_too_late
from nextpatch.sampling.sampler import Sampled, Sampler
from nextpatch.tasks.generate.labels import class_numbers
from nextpatch.tasks.generate.pictures import check_channels
from nextpatch.tasks.generate.request import Request
from nextpatch.weights.backbone import Backbone

log = logging.getLogger(__name__)


class ImageMaker:
    """Makes what requests ask for, with one model. SamplingError, WeightsError where it cannot generate pictures."""

    def __init__(self, backbone: Backbone, settings: SamplingConfig) -> None:
        about = backbone.about
        self.backbone, self.cfg = backbone, backbone.aim.cfg
        self.sampler = Sampler(backbone.aim, about.mean, about.std, settings)
        check_channels(self.cfg.in_chans)

    def settled(self, request: Request, image: Given = None) -> Request:
        """With the rows, the batch size and the digests of this model and image.

        ConfigError for rows that the image has not; SamplingError where a digest is another one than the request's.
        """
        rows = checked_rows(request, self.cfg)
        found = replace(
            request, rows=rows, settings=replace(request.settings, batch_size=self.sampler.batch_size),
            weights_sha256=self.backbone.digest(),
            image_sha256="" if image is None else digest_of_pixels(self.backbone.transform(image)),
        )  # fmt: skip
        check_same(request, found)
        return found

    def images(self, request: Request, image: Given = None) -> Iterator[Sampled]:
        """Images as they are finished; with `image` its first rows are known. SamplingError for unknown classes."""
        labels = class_numbers(request.labels, request.numbers, self.cfg.classes, self.backbone.about.labels)
        known = None if image is None else self.known(image, request.rows, request.count)
        if known is not None and seen_too_late(self.cfg, known.mask[:1]):
            log.warning(
                "in the order %s the model makes some patches before it sees all that is kept; --model.order raster or "
                "any would see it", self.cfg.order,
            )  # fmt: skip
        return self.sampler.sample(request.seed, request.numbers, labels, known)

    def known(self, image: Given, rows: int, count: int) -> KnownPixels:
        """The first rows of patches of an image, for so many alternatives."""
        pixels = self.backbone.transform(image)
        mask = torch.zeros(1, *self.cfg.img_size, dtype=torch.bool)
        mask[:, : rows * self.cfg.patch_size] = True
        return KnownPixels(pixels.expand(count, -1, -1, -1), mask.expand(count, -1, -1, -1))


def checked_rows(request: Request, cfg: ModelConfig) -> int:
    """The rows of patches that are kept, 0 where there is no image; ConfigError where nothing or all would be."""
    if request.verb != "complete":
        return 0
    rows = cfg.grid[0]
    if request.rows >= rows:
        raise ConfigError(f"rows {request.rows} leaves nothing to complete: the model sees {rows} rows of patches")
    if rows == 1:
        raise ConfigError("the model sees a single row of patches, of which none can be kept")
    return request.rows or rows // 2


def check_same(asked: Request, found: Request) -> None:
    """SamplingError where weights, image or mask are others than those that the settings were written with."""
    for what in ("weights", "image", "mask"):
        said = getattr(asked, f"{what}_sha256")
        if said not in ("", getattr(found, f"{what}_sha256")):
            raise SamplingError(
                f"{shown(getattr(asked, what))} is not the {what} that the settings were written with (SHA-256 "
                f"{said[:12]}...), so the pictures would be others; give the right one, or leave out --from"
            )


def digest_of_pixels(pixels: torch.Tensor) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
