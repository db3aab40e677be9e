"""What makes one vector of an image: weights, a graph in an .onnx file, a function of Python, or its own pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.model.precision import resolve_device
from nextpatch.tasks.evaluate.config import PIXELS
from nextpatch.tasks.evaluate.graph import graph_of
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.inception import PREFIX, PUBLISHED, SIDE, load_inception
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load

_MOST_VALUES = 1024  # of pixels as features: their covariance is a matrix of this side
_LUMA = (0.299, 0.587, 0.114)
Function: TypeAlias = Callable[[Tensor], Any]  # uint8 images -> "images dim", or that and logits "images classes"


class Computed(NamedTuple):
    """What an extractor gives of a batch; `logits` where it is a classifier."""

    features: Float[Tensor, "images dim"]
    logits: Float[Tensor, "images classes"] | None = None


@dataclass(frozen=True)
class Extractor:
    """Images of any size, uint8, to vectors. `view` says in words what it does with them first."""

    name: str
    sha256: str
    view: str
    compute: Callable[[UInt8[Tensor, "images channels height width"]], Computed]
    classes: tuple[str, ...] = ()
    note: str = ""  # what must be said of figures by these features


def extractor_of(features: str | Backbone | Function, device: str, precision: str) -> Extractor:
    """Of what a user gives; WeightsError for what computes no features."""
    if isinstance(features, Backbone):
        return of_weights(features, device, precision)
    if not isinstance(features, str):
        return Extractor(getattr(features, "__name__", type(features).__name__), "", "", _of_function(features))
    if features == PIXELS:
        return Extractor(PIXELS, "", f"made smaller to at most {_MOST_VALUES:,} values", of_pixels)
    if features.startswith(PREFIX):
        return of_inception(features, device)
    if Path(features).suffix == ".onnx":
        graph = graph_of(Path(features))
        return Extractor(
            str(features), graph.sha256, f"resized to {graph.size[0]} x {graph.size[1]} px (bicubic)",
            lambda images: Computed(*graph(resized(with_channels(images, graph.channels), graph.size))), graph.classes,
        )  # fmt: skip
    return of_weights(load(features), device, precision)


def of_weights(backbone: Backbone, device: str, precision: str) -> Extractor:
    """One vector an image, as `nextpatch embed` gives it, and the logits of the classifier where there is one."""
    about, digest = backbone.about, backbone.digest()
    inference = InferenceModel.of(backbone, device, precision)

    def compute(images: Tensor) -> Computed:
        features = inference.read(resized(with_channels(images, about.in_chans), about.img_size))
        logits = None if backbone.classifier is None else backbone.classify(features).float().cpu()
        return Computed(backbone.pool(features).float().cpu(), logits)

    view = f"resized to {about.img_size[0]} x {about.img_size[1]} px (bicubic)"
    return Extractor(about.name, digest, view, torch.no_grad()(compute), tuple(backbone.classes))


def of_inception(spec: str, device: str) -> Extractor:
    """The features of the standard FID, where the file is the published one."""
    model, digest = load_inception(spec)
    where = resolve_device(device)
    model.to(where)

    def compute(images: Tensor) -> Computed:
        return Computed(model(with_channels(images, 3).to(where)).cpu())

    note = f"{spec} is not the published file (SHA-256 {PUBLISHED}...), so this is not the standard FID"
    view = f"resized to {SIDE} x {SIDE} px (bilinear, as TensorFlow 1)"
    return Extractor(
        "Inception", digest, view, torch.no_grad()(compute), note="" if digest.startswith(PUBLISHED) else note
    )


def of_pixels(images: UInt8[Tensor, "images channels height width"]) -> Computed:
    """Values in [0, 1], of images that were made smaller where they have more than _MOST_VALUES."""
    channels, height, width = images.shape[1:]
    share = min(1.0, (_MOST_VALUES / (channels * height * width)) ** 0.5)
    size = max(1, int(height * share)), max(1, int(width * share))
    return Computed(resized(images, size).flatten(1).float() / 255)


def _of_function(function: Function) -> Callable[[Tensor], Computed]:
    @torch.no_grad()
    def compute(images: Tensor) -> Computed:
        found = function(images)
        parts = [torch.as_tensor(part).float().cpu() for part in (found if isinstance(found, tuple) else (found,))]
        if len(parts) > 2 or any(part.ndim != 2 or len(part) != len(images) for part in parts):
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise DataError(f"features of {len(images)} images must be 'images dim', got {shapes}")
        return Computed(*parts)

    return compute


def with_channels(
    images: UInt8[Tensor, "images channels height width"], channels: int
) -> UInt8[Tensor, "images wanted height width"]:
    """Gray as RGB by repeating, RGB as gray by the luma weights; DataError for other numbers that differ."""
    given = images.shape[1]
    if given == channels:
        return images
    if given == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1)
    if given == 3 and channels == 1:
        luma = (images * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return luma.round().to(torch.uint8)
    raise DataError(f"images have {given} channels, and the features take {shown(channels)}; give other features")


def resized(
    images: UInt8[Tensor, "images channels height width"], size: tuple[int, int]
) -> UInt8[Tensor, "images channels out_height out_width"]:
    """The whole image at another size, with antialiasing, in 8 bits."""
    if tuple(images.shape[2:]) == size:
        return images
    return interpolate(images, size=size, mode="bicubic", antialias=True)
