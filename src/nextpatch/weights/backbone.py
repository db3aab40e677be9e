"""The one class that weights become: images in, features of every patch, one vector, or logits out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from nextpatch.core.text import shown
from nextpatch.data.views import to_model_input
from nextpatch.model.aim import AIM
from nextpatch.weights.classifier import Readout
from nextpatch.weights.error import WeightsError


@dataclass(frozen=True)
class About:
    """What is known of weights beside their tensors. `layers` are read unless others are asked for."""

    name: str
    img_size: tuple[int, int]  # height, width, in pixels
    in_chans: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dim: int
    num_heads: int
    layers: tuple[str, ...]
    num_patches: int

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

    `trunk` is an `AIM` or, for models of other libraries, anything with the same `features` and `layer_names`. Images
    are normalized by `inputs`. A feature is the mean of the outputs of the blocks `about.layers`, without a final norm.
    """

    def __init__(self, trunk: nn.Module, about: About, readout: Readout | None = None) -> None:
        super().__init__()
        self.trunk, self.about = trunk, about
        self.classifier = readout.classifier if readout else None
        self.classes = readout.classes if readout else ()
        self.eval()

    @property
    def aim(self) -> AIM:
        """The trunk as the model of this package; WeightsError when it is of another library."""
        if not isinstance(self.trunk, AIM):
            raise WeightsError(f"{self.about.name} is no autoregressive image model; give weights of one")
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

    def inputs(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalized images, on its device."""
        return to_model_input(images, self.about.mean, self.about.std, self.device)

    @staticmethod
    def normalized(
        images: UInt8[Tensor, "batch channels height width"], about: About, device: torch.device
    ) -> Float[Tensor, "batch channels height width"]:
        """What `inputs` gives, without the model."""
        return to_model_input(images, about.mean, about.std, device)

    def features(
        self, images: Float[Tensor, "batch channels height width"], layers: Sequence[str]
    ) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """The outputs named in `layers`, bidirectional; nothing behind the last of them is computed."""
        found: dict[str, Tensor] = self.trunk.features(images, layers)  # type: ignore[operator]
        return found

    def read(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch patches dim"]:
        """The mean of the layers that are read by default: what a probe sees."""
        return mean_of(self.features(images, self.about.layers), self.about.layers)

    def pool(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch dim"]:
        """One vector an image: the values that the classifier's attention pools, or without one the mean of patches."""
        return features.mean(dim=1) if self.classifier is None else self.classifier.pooled(features)

    def classify(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch classes"]:
        """Class logits of what `read` gives; WeightsError when the weights bring no classifier."""
        if self.classifier is None:
            raise WeightsError(
                f"{self.about.name} brings no classifier for these layers; train one: nextpatch probe, or nextpatch "
                "finetune"
            )
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Class logits of normalized images."""
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
