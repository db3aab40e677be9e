"""`nextpatch.evaluate_samples`: generated images against real ones."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from nextpatch.api.given_values import out_path
from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, path_of
from nextpatch.core.errors import UserError
from nextpatch.core.writer import only_writer
from nextpatch.measure.samples_result import SamplesResult
from nextpatch.runs.config import Device, Precision
from nextpatch.tasks.evaluate.config import PIXELS, EvaluateConfig
from nextpatch.tasks.evaluate.extractor import Function
from nextpatch.tasks.evaluate.run import evaluate_samples as measure
from nextpatch.weights.backbone import Backbone


def evaluate_samples(
    samples: Images,
    real: Images,
    *,
    train: Images | None = None,
    features: Weights | Function = PIXELS,
    out: str | Path | None = None,
    count: int = 0,
    img_size: tuple[int, int] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    device: Device = "auto",
    precision: Precision = "fp32",
    seed: int = 0,
    quiet: bool = False,
) -> SamplesResult:
    """Measure generated images against real ones, as `nextpatch evaluate-samples` does.

    `samples`, `real`, `train`: as `nextpatch.dataset` takes them, or names; with labels, differences within a class are
    measured. `features`: a name of weights, a model that is loaded, the path of an .onnx file, or a function from
    uint8 tensors "images channels height width" to "images dim", or to that and logits "images classes". `count`: so
    many images of each, drawn by chance; distances depend on it. `img_size`: what all images are brought to first, if
    not the size of the samples. `out`: a folder for evaluation.json and nearest.png; without it nothing is written.

    Returns the figures, with those of real images against real ones beside them. Raises DataError for images that
    cannot be used or are too few, WeightsError for features that cannot be computed.

    >>> import numpy as np, nextpatch
    >>> rng = np.random.default_rng(0)
    >>> real, made = (rng.integers(0, most, (40, 28, 28), np.uint8) for most in (255, 200))
    >>> found = nextpatch.evaluate_samples(made, real, features=lambda images: images.float().mean(dim=2).flatten(1))
    >>> len(found.distances), found.distances[0].frechet > found.distances[1].frechet
    (2, True)
    """
    made, against = named(samples, labels=True), named(real, labels=True)
    learned = None if train is None else named(train, labels=True)
    name, given = _named_or_given(features)
    with session(quiet), TemporaryDirectory() as aside:
        config = EvaluateConfig(
            samples=made.one("samples"), real=against.one("real"), out=Path(aside) if out is None else out_path(out),
            train=learned.one("train") if learned else "", features=name,
            count=count, img_size=img_size, batch_size=batch_size, workers=workers, device=device,
            precision=precision, seed=seed,
        )  # fmt: skip
        with only_writer(config.out, "evaluate-samples"):
            return measure(config, given)


def _named_or_given(features: Weights | Function) -> tuple[str, Backbone | Function | None]:
    """(the name of what computes features, None), or (any name, what computes them); UserError for neither."""
    if isinstance(features, (str, os.PathLike)):
        return path_of(features), None
    if isinstance(features, Backbone) or callable(features):
        return PIXELS, features
    raise UserError(f"{type(features).__name__} computes no features; give weights, an .onnx file or a function")
