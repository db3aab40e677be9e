"""Features of images by layer set: what a frozen trunk gives, and the baseline of raw pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nextpatch.config import to_dict
from nextpatch.data.loader import eval_batches
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.source import Samples
from nextpatch.model.layer_sets import LayerSets
from nextpatch.tasks.probe.cache import FeatureBatch
from nextpatch.weights.backbone import digest_of_tensors, mean_of
from nextpatch.weights.classifier import attention_facts
from nextpatch.weights.finite import check_features_finite
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.pooling import RegionMeans

GROUP = 256  # images in one forward pass


@dataclass(frozen=True)
class TrunkFeatures:
    """Mean of each layer set's block outputs, without the final norm, with the backbone's attention (section 4.2)."""

    inference: InferenceModel
    sets: LayerSets
    workers: int = 0
    bad: Bad = field(default_factory=dict)  # already named in the log
    pool: RegionMeans = field(default_factory=RegionMeans)  # one vector an image, for the kinds of probes that take one

    @property
    def names(self) -> list[list[str]]:
        """The blocks of every set."""
        return list(self.sets.values())

    @property
    def patches(self) -> bool:
        """Whether there are several vectors an image, to attend to."""
        return True

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of what the trunk sees."""
        return self.inference.backbone.about.img_size

    @property
    def preprocessing(self) -> Preprocessing:
        """How files become what the trunk sees."""
        return self.inference.backbone.about.preprocessing

    @property
    def channels(self) -> int:
        """Channels of what the trunk sees."""
        return self.inference.backbone.about.in_chans

    @cached_property
    def decided_by(self) -> dict[str, Any]:
        """What decides the features, beside the images."""
        inference, about = self.inference, self.inference.backbone.about
        return {
            "trunk": digest_of_tensors(inference.backbone.trunk), "precision": inference.precision,
            "layers": self.names,
            "img_size": about.img_size, "mean": about.mean, "std": about.std,
            "preprocessing": to_dict(about.preprocessing),
            **attention_facts(about.attention),
        }  # fmt: skip

    def nbytes(self, images: int) -> int:
        """Memory that the features of so many images take."""
        about = self.inference.backbone.about
        return images * len(self.sets) * about.num_patches * about.dim * 4

    def of(
        self, images: UInt8[Tensor, "batch channels height width"], keys: Sequence[str]
    ) -> list[Float[Tensor, "batch patches dim"]]:
        """Features of each set, float32, on the device; the trunk runs once. WeightsError when one is not finite."""
        layers = sorted({block for blocks in self.names for block in blocks})
        found = self.inference.features(images, layers)
        check_features_finite(found, keys, self.inference.backbone.about.name)
        return [mean_of(found, blocks) for blocks in self.names]

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.inference.backbone.about.dim

    def __call__(self, source: Samples, indices: Int64[np.ndarray, " samples"]) -> Iterator[FeatureBatch]:
        """Features of the evaluation view, float32, on the CPU; what cannot be decoded is left out and logged."""
        for batch in eval_batches(
            source, indices, self.img_size, self.channels, GROUP, self.workers, self.bad, self.preprocessing
        ):
            yield FeatureBatch(torch.stack(self.of(batch.images, batch.keys)).cpu(), batch.positions.numpy())


@dataclass(frozen=True)
class RawPixels:
    """The pixels of the evaluation view themselves, as one "patch": the baseline without any network."""

    img_size: tuple[int, int]
    channels: int
    workers: int = 0
    bad: Bad = field(default_factory=dict)
    preprocessing: Preprocessing = AS_OURS
    pool: RegionMeans = field(default_factory=RegionMeans)

    @property
    def names(self) -> list[list[str]]:
        """One set, of no block."""
        return [[]]

    @property
    def patches(self) -> bool:
        """Whether there are several vectors an image, to attend to."""
        return False

    @property
    def dim(self) -> int:
        """Pixels times channels."""
        return self.channels * self.img_size[0] * self.img_size[1]

    def nbytes(self, images: int) -> int:
        """Memory that the features of so many images take."""
        return images * self.dim * 4

    def of(
        self, images: UInt8[Tensor, "batch channels height width"], keys: Sequence[str]
    ) -> list[Float[Tensor, "batch patches dim"]]:
        """Pixels in [0, 1], as one patch."""
        return [images.flatten(1).float()[:, None] / 255]

    def __call__(self, source: Samples, indices: Int64[np.ndarray, " samples"]) -> Iterator[FeatureBatch]:
        """Pixels in [0, 1]."""
        for batch in eval_batches(
            source, indices, self.img_size, self.channels, GROUP, self.workers, self.bad, self.preprocessing
        ):
            yield FeatureBatch(torch.stack(self.of(batch.images, batch.keys)), batch.positions.numpy())
