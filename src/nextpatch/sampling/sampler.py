"""Images by their numbers: from nothing, or from what is known of them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.data.views import to_model_input, to_pixels
from nextpatch.model.aim import AIM
from nextpatch.model.cache import KeyValueCache
from nextpatch.model.config import ModelConfig
from nextpatch.model.start import low_res_of
from nextpatch.patches import unpatchify
from nextpatch.sampling.batches import Means, batches
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.drawing import drawer_of
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.generating import NO_LABEL, Generation
from nextpatch.sampling.known import KnownPixels, beginning_of, first_known

_ON_CPU, _ELSEWHERE = 16, 64  # images computed together


@dataclass(frozen=True)
class Sampled:
    """Some of the images that were asked for: where each stands in the request, and its pixels."""

    places: list[int]
    images: UInt8[Tensor, "images channels height width"]


class Sampler:
    """Samples images from a model that learned to generate; `mean` and `std` are the data's, of pixels in [0, 1].

    Image i is a pure function of (weights, seed, i, config), of its label and of what is known of it, whatever else is
    asked for with it: it is always computed in row i modulo the batch size, of a batch of that size. That holds to the
    last bit on one kind of machine with one number of threads; another one rounds differently. Computes in the
    precision of the weights.

    Raises SamplingError for weights that cannot sample, and TokenizerError where the tokenizer of codes is missing.
    """

    def __init__(
        self, model: AIM, mean: Sequence[float], std: Sequence[float], config: SamplingConfig | None = None
    ) -> None:
        self.model, self.mean, self.std = model.eval(), tuple(mean), tuple(std)
        self.config = config or SamplingConfig()
        self.device = next(model.parameters()).device
        self.batch_size = self.config.batch_size or (_ON_CPU if self.device.type == "cpu" else _ELSEWHERE)
        self._draw = drawer_of(model, self.config, self.device)
        self._guided = self.config.guidance != 1.0
        center, scale = (torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        self._low, self._high = (((end - center) / scale).repeat(model.cfg.patch_size**2) for end in (0.0, 1.0))

    def cache_bytes(self) -> int:
        """Bytes of keys and values of a batch: what sampling needs beside the weights."""
        cfg = self.model.cfg
        return KeyValueCache.num_bytes(cfg, self.batch_size * (1 + self._guided), cfg.num_patches)

    def sample(
        self,
        seed: int,
        numbers: Sequence[int],
        labels: Sequence[int] | None = None,
        known: KnownPixels | None = None,
        low: UInt8[Tensor, "images channels low_height low_width"] | None = None,
    ) -> Iterator[Sampled]:
        """Images by their numbers, as they are finished; `labels` (-1: none), `known` and `low`, the low-resolution
        images of a model that enlarges, are in the order of `numbers`.

        With `average` above 1 image i is the mean of samples i * average to (i + 1) * average - 1. Known pixels come
        back as they are. SamplingError for labels or guidance where the model has no such classes.
        """
        check_low(self.model.cfg, low)
        return self._sampled(seed, numbers, self.checked(labels, len(numbers)), known, low)

    def _sampled(
        self, seed: int, numbers: Sequence[int], classes: list[int], known: KnownPixels | None, low: Tensor | None
    ) -> Iterator[Sampled]:
        times = self.config.average
        every = [number * times + other for number in numbers for other in range(times)]
        firsts = [0] * len(numbers) if known is None else first_known(self.model.cfg, known.mask).tolist()
        mean = Means(times)
        for batch in batches(every, [first for first in firsts for _ in range(times)], self.batch_size):
            rows = batch.filled(self.batch_size)
            owners = [place // times for place in rows]
            images = self._images(
                seed, [every[place] for place in rows], [classes[owner] for owner in owners],
                None if known is None else known.of(owners), firsts[owners[0]], None if low is None else low[owners],
            )  # fmt: skip
            done = mean.add([place // times for place in batch.places], images[batch.rows])
            if done:
                places, found = list(done), self._pixels(torch.stack(list(done.values())))
                yield Sampled(places, found if known is None else known.of(places).put_back(found))

    def _images(
        self, seed: int, numbers: list[int], classes: list[int], known: KnownPixels | None, first: int,
        low: Tensor | None,
    ) -> Float[Tensor, "images channels height width"]:  # fmt: skip
        """One batch of full size, normalized."""
        cfg = self.model.cfg
        chance = [rng_at(seed, Stream.SAMPLE, number).bit_generator for number in numbers]
        words = [own.random_raw(1 + cfg.num_patches) for own in chance]
        seeds = torch.from_numpy(np.array([own[0] for own in words]).view(np.int64))
        if known is None:
            known = KnownPixels.nothing(len(numbers), cfg)
        pixels = to_model_input(known.images, self.mean, self.std, self.device).to(self._dtype)
        start = beginning_of(cfg, pixels, known.mask.to(self.device), [own[1:] for own in words])
        generation = Generation(
            self.model, self._draw, start, torch.tensor(classes, device=self.device), seeds.to(self.device),
            self._guided, self._clamped, self._around(low),
        )  # fmt: skip
        patches = generation.run(first, lambda turn: self.config.guidance_at(turn, cfg.num_patches))
        return unpatchify(patches, cfg.grid, cfg.patch_size)

    def _around(self, low: Tensor | None) -> Tensor | None:
        """What the model is told of low-resolution images."""
        told = low_res_of(self.model.start)
        return None if low is None or told is None else told.of_pixels(low, self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _clamped(self, patches: Float[Tensor, "images values"]) -> Float[Tensor, "images values"]:
        return patches.clamp(self._low.to(patches.dtype), self._high.to(patches.dtype))

    def _pixels(self, images: Float[Tensor, "images channels height width"]) -> UInt8[Tensor, "images ..."]:
        return (to_pixels(images.float(), self.mean, self.std) * 255).round().clamp(0, 255).byte().cpu()

    def checked(self, labels: Sequence[int] | None, count: int) -> list[int]:
        """The labels; SamplingError for those that the model does not know, and for guidance towards none."""
        classes = self.model.cfg.classes
        found = [NO_LABEL] * count if labels is None else list(labels)
        if not classes and (self._guided or any(label != NO_LABEL for label in found)):
            raise SamplingError(
                f"these weights know no classes; leave {'the guidance' if self._guided else 'the label'} out, or train "
                "with the labels of the images: nextpatch pretrain ... --labels"
            )
        for label in found:
            if not NO_LABEL <= label < max(classes, 1):
                raise SamplingError(f"there is no class {label}; these weights know {classes:,}, counted from 0")
        if self._guided and all(label == NO_LABEL for label in found):
            raise SamplingError("guidance leads towards a class, and none is asked for; give a label")
        return found


def check_low(cfg: ModelConfig, low: Tensor | None) -> None:
    """SamplingError where a model that enlarges is told no low-resolution image, or another model one."""
    if cfg.upscale and low is None:
        raise SamplingError(
            f"these weights enlarge images by {cfg.upscale}, and do nothing else: nextpatch upscale RUN IMAGE; to make "
            "or complete images, train without model.upscale"
        )
    if low is not None and not cfg.upscale:
        raise SamplingError(
            "these weights did not learn to enlarge images; train some that do: nextpatch pretrain IMAGES --model.head "
            "flow --model.upscale 2"
        )
    if low is not None:
        wanted = (cfg.in_chans, *(side // cfg.upscale for side in cfg.img_size))
        assert low.shape[1:] == wanted, f"low-resolution images of {tuple(low.shape[1:])}, not {wanted}"
