"""The one class that weights become: images in, features of every patch, one vector, or logits out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from nextpatch.core.text import shown
from nextpatch.data.encoding import Given, is_many, is_one
from nextpatch.data.error import DataError
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.views import eval_view, to_model_input
from nextpatch.model.aim import AIM
from nextpatch.model.config import InferenceAttention
from nextpatch.model.precision import autocast, resolve_precision
from nextpatch.weights.classifier import ClassifierHead
from nextpatch.weights.error import WeightsError
from nextpatch.weights.given import check_batch, pixels_of, stacked_views
from nextpatch.weights.pooling import RegionMeans, regions_for

NO_CAUSAL = (
    "{name} is of another library, whose attention sees all patches; causal features are those of weights of "
    "nextpatch or of AIM: leave the attention out"
)


@dataclass(frozen=True)
class ModelInfo:
    """What is known of weights beside their tensors. `layers` are read by default, with `attention`."""

    name: str
    img_size: tuple[int, int]  # height, width, in pixels
    in_chans: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dim: int
    num_heads: int
    layers: tuple[str, ...]
    num_patches: int
    preprocessing: Preprocessing = AS_OURS  # of the images that it was trained and measured on
    attention: InferenceAttention = "bidirectional"  # by which features are computed
    labels: tuple[str, ...] = ()  # names of the classes that a model that generates was told of
    upscale: int = 0  # factor by which a model that generates enlarges images

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise WeightsError(
                f"{shown(self.name)} has {self.in_chans} channels, {len(self.mean)} means and {len(self.std)} "
                "deviations; there must be one of each for every channel"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise WeightsError(
                f"{shown(self.name)} normalizes images by mean {self.mean} and deviation {self.std}; they must be "
                "finite, and deviations above 0"
            )


class Backbone(nn.Module):
    """A trunk that gives named features, and an attentive classifier where the weights bring one.

    `trunk` is an `AIM` or, for models of other libraries, anything with the same `features` and `layer_names`. Pictures
    go through `transform` and are normalized by `inputs`; `embed` does all of it. A feature is the mean of the
    outputs of the blocks `about.layers`, without a final norm.
    """

    def __init__(self, trunk: nn.Module, about: ModelInfo, classifier_head: ClassifierHead | None = None) -> None:
        super().__init__()
        self.trunk, self.about = trunk, about
        if about.attention != "bidirectional" and not isinstance(trunk, AIM):
            raise WeightsError(NO_CAUSAL.format(name=shown(about.name)))
        self.classifier = classifier_head.classifier if classifier_head else None
        self.classes = classifier_head.classes if classifier_head else ()
        self.regions = (  # of other libraries' models the mean, as is usual there
            regions_for(about.num_patches, about.img_size, about.dim) if isinstance(trunk, AIM) else RegionMeans()
        )
        self.eval()

    @property
    def aim(self) -> AIM:
        """The trunk as the model of this package; WeightsError when it is of another library."""
        if not isinstance(self.trunk, AIM):
            raise WeightsError(f"{self.about.name} is not an autoregressive image model; give weights of one")
        return self.trunk

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.trunk.parameters()).device

    def layer_names(self) -> list[str]:
        """Every name that `features` knows, in order of depth."""
        names: list[str] = self.trunk.layer_names()  # type: ignore[operator]
        return names

    @property
    def blocks(self) -> list[str]:
        """The outputs of its blocks, in order of depth."""
        return [name for name in self.layer_names() if name.startswith("block_")]

    def transform(self, images: Given) -> UInt8[Tensor, ...]:
        """What the model sees of an image, or of a list of images, exactly as `nextpatch embed` would: uint8.

        An image is a path, an image of Pillow, an array "height width channels" or a tensor "channels height width" of
        uint8, uint16 or floats in [0, 1]. One gives "channels height width", so that this is a transform for a
        DataLoader; a list, or an array of four axes, gives "batch channels height width". DataError for what is none.
        """
        about = self.about
        if is_many(images):
            return stacked_views([self.transform(image) for image in images])
        found: Tensor = eval_view(
            pixels_of(images, about.in_chans, about.preprocessing), about.img_size, about.preprocessing
        )
        return found

    def inputs(self, images: Given) -> Float[Tensor, "batch channels height width"]:
        """Normalized images on its device, of what `transform` gives: uint8, or the same as floats in [0, 1].

        DataError for other shapes, types and ranges.
        """
        check_batch(images, self.about.in_chans, self.about.img_size)
        whole = images if images.dtype == torch.uint8 else images.float() * 255
        return to_model_input(whole, self.about.mean, self.about.std, self.device)

    @torch.no_grad()
    def embed(self, images: Given, batch_size: int = 32) -> Float[Tensor, "images values"]:
        """One vector an image, float32 on the CPU: the numbers that `nextpatch embed` writes as float16.

        `images` is one image or a list of them, as `transform` takes them, or anything that gives batches of them, as a
        DataLoader does (labels behind them are left out). Batches of the model's own size are taken as `transform` made
        them. Pooled as by `pool`.
        """
        if batch_size < 1:
            raise DataError(f"batch_size {batch_size} must be at least 1")
        found = [self._vectors(batch) for batch in self._batches(images, batch_size)]
        if not found:
            raise DataError("no images given; give at least one")
        return torch.cat(found)

    def _batches(self, images: Given, size: int) -> Iterator[Tensor]:
        about = self.about
        if is_one(images):
            yield self.transform(images)[None]
        elif is_many(images):
            for at in range(0, len(images), size):
                yield self.transform(images[at : at + size])
        elif isinstance(images, Iterable):
            for batch in images:
                given = batch[0] if isinstance(batch, (list, tuple)) and len(batch) and not is_one(batch[0]) else batch
                if isinstance(given, Tensor) and tuple(given.shape[1:]) == (about.in_chans, *about.img_size):
                    yield given
                else:
                    yield self.transform([given] if is_one(given) else given)
        else:
            raise DataError(
                f"{type(images).__name__} is neither an image nor a collection of images; see Backbone.transform"
            )

    def _vectors(self, batch: Tensor) -> Tensor:
        with autocast(self.device, resolve_precision("auto", self.device)):
            features = self.features(self.inputs(batch), self.about.layers)
        return self.pool(mean_of(features, self.about.layers)).float().cpu()

    @staticmethod
    def normalized(
        images: UInt8[Tensor, "batch channels height width"], about: ModelInfo, device: torch.device
    ) -> Float[Tensor, "batch channels height width"]:
        """What `inputs` gives, without the model."""
        return to_model_input(images, about.mean, about.std, device)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """The outputs named in `layers`, with `about.attention`, of what `inputs` gives, or `transform`.

        In raster order, whatever the model's order. Nothing behind the last of them is computed.
        """
        images = self.inputs(images) if images.dtype == torch.uint8 else images
        if self.about.attention != "bidirectional":
            return self.aim.features(images, layers, self.about.attention)
        found: dict[str, Tensor] = self.trunk.features(images, layers)  # type: ignore[operator]
        return found

    def read(self, images: Tensor) -> Float[Tensor, "batch patches dim"]:
        """The mean of the layers that are read by default: what a probe sees."""
        return mean_of(self.features(images, self.about.layers), self.about.layers)

    def pool(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch values"]:
        """One vector an image: the values that the classifier's attention pools, or without one `regions`: the means of
        3 x 3 or 2 x 2 regions side by side where these are at most 2,048 values, else the mean of all patches."""
        return self.regions(features) if self.classifier is None else self.classifier.pooled(features)

    def classify(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits of what `read` gives; WeightsError when the weights bring no classifier."""
        if self.classifier is None:
            raise WeightsError(
                f"{self.about.name} has no classifier for these layers and {self.about.attention} attention; train "
                "one: nextpatch probe, or nextpatch finetune"
            )
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, images: Tensor) -> Float[Tensor, "batch classes"]:
        """Class logits of what `inputs` gives, or `transform`."""
        return self.classify(self.read(images))

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of names, shapes and values of all tensors: equal however they are stored."""
        return digest_of_tensors(self)


def mean_of(features: dict[str, Tensor], layers: Sequence[str]) -> Tensor:
    """The mean of some of the layers, added up in float32 or wider."""
    first = features[layers[0]]
    total = first if first.dtype in (torch.float32, torch.float64) else first.float()
    for layer in layers[1:]:
        total = total + features[layer]
    return total / len(layers) if len(layers) > 1 else total


def digest_of_tensors(module: nn.Module) -> str:
    """SHA-256, in hexadecimal, of names, shapes and values of a module's tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return total.hexdigest()
