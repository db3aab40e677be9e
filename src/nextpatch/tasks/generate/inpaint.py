"""A photo with its holes filled: alternatives, each a picture as the photo is one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from nextpatch.data.encoding import Given
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.inpainting import Inpainter
from nextpatch.sampling.sampler import check_low
from nextpatch.tasks.generate.generator import check_same, digest_of_pixels
from nextpatch.tasks.generate.holes import hole_of
from nextpatch.tasks.generate.labels import class_numbers
from nextpatch.tasks.generate.photo import Photo
from nextpatch.tasks.generate.pictures import check_channels
from nextpatch.tasks.generate.request import Request
from nextpatch.weights.backbone import Backbone

log = logging.getLogger(__name__)


class HoleFiller:
    """Fills the holes of one photo, as a request says. SamplingError, DataError, ConfigError for what cannot be."""

    def __init__(self, backbone: Backbone, request: Request, image: Given, mask: Given) -> None:
        about = backbone.about
        check_channels(about.in_chans)
        self.photo = Photo.of(image, about.in_chans, about.preprocessing)
        self.hole: Bool[Tensor, "height width"] = hole_of(mask, request.box, self.photo.size)
        self._backbone = backbone
        check_low(backbone.aim.cfg, None)
        self._inpainter = Inpainter(backbone.aim, about.mean, about.std, request.settings, self.hole)
        self.request = self._settled(request, mask)
        self._check_order()
        if (parts := len(self._inpainter.parts)) > 1:
            log.info("the holes are filled in %s tiles of the size of the model", parts)

    def pictures(self) -> Iterator[tuple[int, Image.Image]]:
        """The place of each in the request, and the picture, as they are finished."""
        request, cfg = self.request, self._backbone.aim.cfg
        labels = class_numbers(request.labels, request.numbers, cfg.classes, self._backbone.about.labels)
        for some in self._inpainter.filled(self.photo.pixels, request.seed, request.numbers, labels):
            for place, made in zip(some.places, some.images, strict=True):
                yield place, self.photo.filled(self.hole, made)

    def _settled(self, request: Request, mask: Given) -> Request:
        """With the batch size and the digests; SamplingError where one is another than the request's."""
        settings = replace(request.settings, batch_size=self._inpainter.sampler.batch_size)
        found = replace(
            request, settings=settings, weights_sha256=self._backbone.digest(),
            image_sha256=digest_of_pixels(self.photo.pixels),
            mask_sha256="" if mask is None else digest_of_pixels(self.hole),
        )  # fmt: skip
        check_same(request, found)
        return found

    def _check_order(self) -> None:
        """SamplingError, or a warning where that is allowed, for known patches that the model comes to too late."""
        late, order = self._inpainter.seen_too_late(), self._backbone.aim.cfg.order
        if not late:
            return
        said = (
            f"in the order {order} these weights would fill the holes before they have seen {late} of the known "
            "patches around them"
        )
        if not self.request.allow_unseen:
            raise SamplingError(
                f"{said}; train weights that see them first: nextpatch pretrain IMAGES --model.head flow --model.order "
                "any, or accept it: --allow-unseen"
            )
        log.warning("%s", said)
