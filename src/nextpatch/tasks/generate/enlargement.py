"""An image enlarged by weights that learned it: as many alternatives at a time as a batch holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from PIL import Image

from nextpatch.core.progress import Meter
from nextpatch.data.encoding import Given
from nextpatch.sampling.enlarging import Enlarger
from nextpatch.sampling.sampler import Sampler
from nextpatch.tasks.generate.generator import check_same, digest_of_pixels
from nextpatch.tasks.generate.labels import class_numbers
from nextpatch.tasks.generate.photo import Photo, small_of
from nextpatch.tasks.generate.pictures import check_channels, picture_of
from nextpatch.tasks.generate.request import Request
from nextpatch.weights.backbone import Backbone


class ImageEnlarger:
    """Enlarges an image as a request has it; `request` then has the factor, batch size and digests that were found.

    `parts`: how many tiles all images have together. SamplingError for what the weights did not learn, for colors where
    they make grey images, for unknown classes, and where weights or image are others than those of settings that are
    repeated; DataError for what is no image; WeightsError.
    """

    def __init__(self, backbone: Backbone, asked: Request, image: Given) -> None:
        about = backbone.about
        check_channels(about.in_chans)
        sampler = Sampler(backbone.aim, about.mean, about.std, asked.settings)
        self._enlarger = Enlarger(sampler)
        self._pixels = Photo.of(image, about.in_chans, about.preprocessing).pixels
        size = self._pixels.shape[1], self._pixels.shape[2]
        self._passes = self._enlarger.passes(asked.factor, size)
        self.request = replace(
            asked, factor=about.upscale**self._passes, settings=replace(asked.settings, batch_size=sampler.batch_size),
            weights_sha256=backbone.digest(), image_sha256=digest_of_pixels(self._pixels),
        )  # fmt: skip
        check_same(asked, self.request)
        self._labels = class_numbers(asked.labels, asked.numbers, backbone.aim.cfg.classes, about.labels)
        sampler.checked(self._labels, asked.count)
        self.parts = self._enlarger.parts(self._passes, size, asked.count)

    def pictures(self, meter: Meter) -> Iterator[tuple[int, Image.Image]]:
        """The place of each in the request, and the picture, as they are finished; the meter counts their tiles."""
        request, numbers = self.request, self.request.numbers
        for _, group in groupby(range(request.count), lambda place: numbers[place] // request.settings.batch_size):
            places = list(group)
            labels = None if self._labels is None else [self._labels[place] for place in places]
            made = self._enlarger.enlarge(
                self._pixels, request.seed, [numbers[place] for place in places], labels, self._passes, meter.add
            )
            yield from zip(places, map(picture_of, made), strict=True)

    def beside(self) -> list[Image.Image]:
        """For comparison, as large as on a sheet: the given image, its pixels as squares, and enlarged by bicubic
        interpolation."""
        given, factor = picture_of(self._pixels), self.request.factor
        size = given.width * factor, given.height * factor
        return [small_of(given.resize(size, how)) for how in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)]
