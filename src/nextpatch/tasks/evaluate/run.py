"""Measures samples against real images, with the floor of real images against real ones, and looks for copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nextpatch.core.files import write_json
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_folder, save_picture
from nextpatch.core.progress import phase
from nextpatch.core.random import Stream, rng_at
from nextpatch.core.text import shown
from nextpatch.data.collection import outside, relative
from nextpatch.data.error import DataError
from nextpatch.data.skipped import Bad, by_kind
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.survey import survey
from nextpatch.measure.distances import NearestVectors
from nextpatch.measure.diversity import Closeness, diversity
from nextpatch.measure.frechet import frechet_distance
from nextpatch.measure.kernel_distance import kernel_distance
from nextpatch.measure.precision_recall import precision_recall
from nextpatch.measure.samples_result import PixelFigures, SamplesResult, SetDistance
from nextpatch.tasks.evaluate.config import PIXELS, EvaluateConfig
from nextpatch.tasks.evaluate.extractor import Extractor, Function, extractor_of
from nextpatch.tasks.evaluate.look import CommonView, ImageSet, batches, drawn, halves, look, small
from nextpatch.tasks.evaluate.picture import draw
from nextpatch.tasks.evaluate.requested import open_samples
from nextpatch.weights.backbone import Backbone

JSON, PICTURE = "evaluation.json", "nearest.png"
_NEIGHBORS = 3  # training images shown beside each


@dataclass(frozen=True)
class Opened:
    """The collections; `train` None where none was given."""

    samples: Source
    real: Source
    train: Source | None

    @classmethod
    def of(cls, config: EvaluateConfig, classes: Sequence[str]) -> Opened:
        """DataError where two of them are the same images: every distance would be 0.

        Samples have the `classes` that they were asked for; of a classifier without names, those of the real images.
        """
        named = {"--real": config.real, "--train": config.train}
        found = {flag: open_source(spec) for flag, spec in named.items() if spec}
        found["SAMPLES"] = open_samples(config.samples, classes or found["--real"].classes)
        seen: dict[tuple[str, str], str] = {}
        for flag, source in found.items():
            other = seen.setdefault((source.digest, source.name), flag)
            if other != flag:
                raise DataError(f"{other} and {flag} are the same images, {shown(source.name)}; give different ones")
        return cls(found["SAMPLES"], found["--real"], found.get("--train"))


def evaluate_samples(config: EvaluateConfig, features: str | Backbone | Function | None = None) -> SamplesResult:
    """Measure, and write evaluation.json, and nearest.png where there are training images, into the folder `out`.

    `features`: in place of those of the config, a model or a function. Raises DataError for images and WeightsError for
    features that cannot be used.
    """
    outside(config.out, [spec for spec in (config.samples, config.real, config.train) if spec])
    check_folder(config.out, files=(JSON, PICTURE))
    with phase("loading the features and opening the images"):
        extractor = extractor_of(config.features if features is None else features, config.device, config.precision)
        opened, bad = Opened.of(config, extractor.classes), Bad()
        view = _view(config, opened)
    samples, real, floor = _looked(config, opened, extractor, view, bad)
    with phase("comparing the features"):
        distances = (_apart(samples, real, config.seed), _apart(*floor, config.seed))
    near = [NearestVectors(one.joined("pixels"), _NEIGHBORS) for one in (samples, real)]
    places = _compared(opened.train, near, view, bad)
    with phase("comparing pixels"):
        figures = tuple(_figures(one, found, bool(places)) for one, found in zip((samples, real), near, strict=True))
    dim = samples.joined("features").shape[1]
    result = SamplesResult(
        samples=relative(config.samples), real=relative(config.real), train=relative(config.train),
        features=extractor.name, features_sha256=extractor.sha256, dim=dim,
        view=f"{view}{', then ' if extractor.view else ''}{extractor.view}", distances=distances, pixels=figures,
        recognized=100 * samples.right / samples.asked if samples.asked else None, recognized_of=samples.asked,
        notes=tuple(_notes(distances, figures, dim, extractor, bad)),
    )  # fmt: skip
    write_json(config.out / JSON, {MARK: "evaluation of samples", **result.to_dict()})
    if opened.train is not None:
        sets = ((opened.samples, samples, near[0]), (opened.real, real, near[1]))
        save_picture(draw(sets, opened.train, places, view), config.out / PICTURE)
    return result


def _view(config: EvaluateConfig, opened: Opened) -> CommonView:
    """The size of the samples, and the most channels that samples or real images have."""
    seen = [survey(one) for one in (opened.samples, opened.real)]
    size = config.img_size or (seen[0].median_height, seen[0].median_width)
    channels = max(one.channels for one in seen)
    return CommonView(size, 3 if channels == 4 else channels, config.batch_size, config.workers)


def _looked(
    config: EvaluateConfig, opened: Opened, extractor: Extractor, view: CommonView, bad: Bad
) -> tuple[ImageSet, ImageSet, tuple[ImageSet, ImageSet]]:
    """(samples, real images, the two sets of the floor)."""
    seed = config.seed
    samples = ImageSet.of("samples", drawn(opened.samples, config.count, seed), seed)
    real = ImageSet.of("real images", drawn(opened.real, config.count, seed), seed)
    look(opened.samples, [samples], extractor, view, bad)
    if opened.train is None:
        parts = [ImageSet.of("real images", some, seed) for some in halves(real.indices, len(samples), seed)]
        look(opened.real, [real, *parts], extractor, view, bad)
        return samples, real, (parts[0], parts[1])
    train = ImageSet.of("training images", drawn(opened.train, len(samples), seed), seed)
    look(opened.real, [real], extractor, view, bad)
    look(opened.train, [train], extractor, view, bad)
    return samples, real, (train, real)


def _apart(one: ImageSet, other: ImageSet, seed: int) -> SetDistance:
    if min(len(one), len(other)) < 4:
        raise DataError(
            f"{len(one)} {one.what} against {len(other)} {other.what} are too few to measure; at least 4 of each are "
            "needed, and 8 real images where no training images are given"
        )
    assert one.moments is not None
    assert other.moments is not None
    kept = one.joined("features"), other.joined("features")
    return SetDistance(
        of=one.what, against=other.what, images=len(one), others=len(other),
        frechet=frechet_distance(one.moments, other.moments),
        kernel=kernel_distance(*kept, rng_at(seed, Stream.COMPARED, 3)), precision_recall=precision_recall(*kept),
    )  # fmt: skip


def _compared(train: Source | None, near: list[NearestVectors], view: CommonView, bad: Bad) -> list[int]:
    """Every training image is looked at once; returns the index of each in its collection."""
    places: list[int] = []
    if train is None:
        return places
    for batch in batches(train, np.arange(len(train)), view, bad, "comparing with training images"):
        pixels = small(batch.images).flatten(1)
        for one in near:
            one.add(pixels)
        places += batch.positions.tolist()
    return places


def _figures(one: ImageSet, near: NearestVectors, compared: bool) -> PixelFigures:
    pixels, labels = one.joined("pixels"), one.joined("labels")
    return PixelFigures(
        of=one.what, images=len(pixels), diversity=diversity(pixels), within_class=diversity(pixels, labels),
        nearest=Closeness.of(near.distances[:, 0]) if compared else None,
        copies=int((near.distances[:, 0] == 0).sum()) if compared else None,
    )  # fmt: skip


def _notes(
    distances: tuple[SetDistance, ...], figures: tuple[PixelFigures, ...], dim: int, extractor: Extractor, bad: Bad
) -> list[str]:
    """What must be said of the figures."""
    found, floor = distances
    said = []
    if found.images != found.others:
        said.append(
            f"unequal numbers, {found.images:,} samples against {found.others:,} real images: a Fréchet distance falls "
            "with both; --count takes equal ones"
        )
    if (floor.images, floor.others) != (found.images, found.others):
        said.append(f"the floor is of {floor.images:,} against {floor.others:,} images, another number than above it")
    if extractor.name == PIXELS:
        said.append("pixels say little of how images look; --features WEIGHTS compares what a network sees")
    if min(found.images, found.others) <= dim:
        said.append(f"fewer images than the {dim:,} features: the Fréchet distance is mostly its bias; see the floor")
    said += [extractor.note] if extractor.note else []
    for one in figures:
        if one.copies:
            said.append(f"{one.copies:,} {one.of} are equal to a training image at this size")
        elif one.copies is None and one is figures[0]:
            said.append("copies of training images were not looked for; --train DATA names these")
    return [*said, *([f"left out: {by_kind(bad)}"] if bad else [])]
