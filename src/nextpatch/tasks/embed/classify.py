"""The classes of images, by the classifier that comes with the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nextpatch.data.loader import eval_batches
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.source import Samples
from nextpatch.data.survey import refuse_other_channels
from nextpatch.weights.error import WeightsError
from nextpatch.weights.finite import check_features_finite
from nextpatch.weights.inference import InferenceModel


class Guess(NamedTuple):
    """One class and how probable the classifier holds it."""

    number: int
    name: str
    probability: float


class Classified(NamedTuple):
    """An image and its likeliest classes, the likeliest first."""

    image: str
    top: Sequence[Guess]


def classify(
    inference: InferenceModel,
    source: Samples,
    top: int = 5,
    batch_size: int = 32,
    workers: int = 0,
    bad: Bad | None = None,
) -> Iterator[Classified]:
    """Every image of `source` that can be decoded, in order; nothing behind the last probed block is computed.

    What cannot be decoded is named in the log and in `bad`. WeightsError when the weights bring no classifier.
    """
    backbone = inference.backbone
    if backbone.classifier is None:
        raise WeightsError(
            f"{backbone.about.name} has no classifier for these layers and {backbone.about.attention} attention; give "
            "weights that were probed so (nextpatch probe), fine-tuned, or released with an attention head"
        )
    names = backbone.classes
    about = backbone.about
    refuse_other_channels(source, about.in_chans, about.preprocessing)
    for batch in eval_batches(
        source, np.arange(len(source)), about.img_size, about.in_chans, batch_size, workers, bad, about.preprocessing
    ):
        logits = inference.logits(batch.images)
        check_features_finite({"the classifier's scores": logits}, batch.keys, about.name)
        likely = logits.float().softmax(dim=-1).topk(min(top, max(1, _classes(inference))), dim=-1)
        for key, values, indices in zip(batch.keys, likely.values.tolist(), likely.indices.tolist(), strict=True):
            guesses = [
                Guess(i, names[i] if i < len(names) else str(i), p) for p, i in zip(values, indices, strict=True)
            ]
            yield Classified(key, guesses)


def _classes(inference: InferenceModel) -> int:
    assert inference.backbone.classifier is not None
    return inference.backbone.classifier.linear.out_features
