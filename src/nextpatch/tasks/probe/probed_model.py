"""What a probe measures: the weights, the same network untrained, and the features of both and of raw pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nextpatch.core.errors import UserError
from nextpatch.data.skipped import Bad
from nextpatch.measure.probe_result import PIXELS, PRETRAINED, RANDOM
from nextpatch.model.layer_sets import LayerSets
from nextpatch.runs.run import RunDir, load_run, untrained_model
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.extract import RawPixels, TrunkFeatures
from nextpatch.weights.assemble import LoadOptions, of_model
from nextpatch.weights.backbone import Backbone, ModelInfo
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.pooling import RegionMeans, regions_for

Features = dict[str, TrunkFeatures | RawPixels]  # by what the kind of features is called


class ProbedModel(NamedTuple):
    """What is measured: the weights, the same network untrained (of a run), and the run's step."""

    inference: InferenceModel
    untrained: InferenceModel | None
    step: int | None


def open_model(config: ProbeConfig, backbone: Backbone | None) -> ProbedModel:
    """What `config.weights` names, or `backbone` where it is given; UserError when that was loaded otherwise."""
    path, step = Path(config.weights), None if config.step < 0 else config.step
    if backbone is not None and config.attention not in (None, backbone.about.attention):
        raise UserError(
            f"attention {config.attention}: the model is loaded already, with {backbone.about.attention} attention; "
            "load it so: nextpatch.load(...)"
        )
    if backbone is not None or not RunDir.exists(path):
        found = backbone or load(
            config.weights, img_size=config.img_size, pixel_range=config.pixel_range, layout=config.layout,
            attention=config.attention or "bidirectional",
        )  # fmt: skip
        return ProbedModel(InferenceModel.of(found, config.device, config.precision), None, None)
    loaded = load_run(path, step=step)
    precision = config.precision if config.precision != "auto" else loaded.recipe.train.precision
    # what an earlier probe has left is not read: it may be damaged or of another version, and is about to be replaced
    statistics = loaded.recipe.data.statistics(loaded.recipe.model.in_chans)
    given = {name: value for name in ("pixel_range", "layout") if (value := getattr(config, name)) is not None}
    reading = replace(loaded.recipe.data.preprocessing, **given)
    options = LoadOptions(img_size=config.img_size, attention=config.attention)
    found = of_model(loaded.model, str(path), options, None, statistics, reading)
    twin = Backbone(untrained_model(replace(loaded.recipe, model=found.aim.cfg)), found.about)
    return ProbedModel(
        InferenceModel.of(found, config.device, precision),
        InferenceModel.of(twin, config.device, precision),
        loaded.step,
    )


def extractors_of(config: ProbeConfig, opened: ProbedModel, sets: LayerSets) -> Features:
    """Every kind of features that is measured: of the weights, of the untrained network, and raw pixels."""
    bad: Bad = {}  # shared, so that an image is named once and not for every kind of features
    trunks = {PRETRAINED: opened.inference, RANDOM: opened.untrained}
    about = opened.inference.backbone.about
    pool = pooling_of(config, about)
    return {
        **{n: TrunkFeatures(one, sets, config.workers, bad, pool) for n, one in trunks.items() if one},
        PIXELS: RawPixels(about.img_size, about.in_chans, config.workers, bad, about.preprocessing),
    }


def pooling_of(config: ProbeConfig, about: ModelInfo) -> RegionMeans:
    """What makes one vector of an image's patches."""
    return RegionMeans() if config.pooling == "mean" else regions_for(about.num_patches, about.img_size, about.dim)
