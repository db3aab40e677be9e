"""By which recipe a benchmark is measured, what is kept of it with the result, and what must be said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextpatch.bench.config import BenchConfig
from nextpatch.bench.registry import BENCHMARKS, Benchmark
from nextpatch.config import ConfigError, from_dict
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.measure.bench_result import BenchmarkScore
from nextpatch.tasks.probe.config import LR_GRID
from nextpatch.weights.backbone import ModelInfo

RESULT = "result.json"
_PAPER = {"epochs": 100, "batch_size": 512, "warmup": 0.0, "lrs": list(LR_GRID), "augment": "paper"}  # Table 11
LATER = {"attention": "bidirectional"}  # values that came after the first results, and what these had
_IMAGENET = {**_PAPER, "epochs": 50, "batch_size": 1024, "warmup": 0.1}
_CHOSEN_ON = {
    "held-out": "a held-out slice of the training images",
    "paper": "the test images, as in the paper: too high",
}


def paper_recipe(name: str) -> dict[str, Any]:
    """The recipe of Table 11 for a benchmark."""
    return _IMAGENET if name == "imagenet" else _PAPER


def recipe_of(config: BenchConfig, benchmark: Benchmark, about: ModelInfo, digest: str) -> dict[str, Any]:
    """All that decides a figure, beside the images: two results with equal recipes are of the same measurement.

    `about` and `digest` are of the weights as they were loaded.
    """
    paper = paper_recipe(benchmark.name)
    blocks = ",".join(layer.removeprefix("block_") for layer in about.layers)
    given = {
        **paper, "epochs": config.epochs or paper["epochs"], "batch_size": config.batch_size or paper["batch_size"],
        "augment": config.augment, "layers": list(config.layers or (blocks,)), "select_on": config.select_on,
        "seed": config.seed, "precision": config.precision, "weights_sha256": digest,
        "img_size": list(about.img_size), "mean": list(about.mean), "std": list(about.std),
        "attention": about.attention,
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(given))  # as it will be read again
    return plain


def read_result(place: Path) -> BenchmarkScore | None:
    """The result of a benchmark; None when it was not measured. ConfigError when the file is damaged."""
    path = place / RESULT
    if not path.exists():
        return None
    found = read_json(path, "the result of a benchmark", "remove it, and the benchmark is measured again", ConfigError)
    try:
        return from_dict(BenchmarkScore, found, "", extra_keys=True)
    except ConfigError as error:
        reason = shown(str(error).removeprefix(": "))
        raise ConfigError(
            f"{shown(path)} holds no result of a benchmark ({reason}); remove it, and the benchmark is measured again"
        ) from None


def notes(results: Mapping[str, BenchmarkScore]) -> list[str]:
    """What must be said of results, by what is stored with them: never by what is asked for now."""
    titles = {benchmark.name: benchmark.title for benchmark in BENCHMARKS}
    said: dict[str, list[str]] = {}
    for name, result in results.items():
        for note in _notes_on(name, result.measured):
            said.setdefault(note, []).append(titles[name])
    return [note if len(on) == len(results) else f"{', '.join(on)}: {note}" for note, on in said.items()]


def _notes_on(name: str, recipe: Mapping[str, Any]) -> list[str]:
    if not recipe:
        return ["measured by an earlier version, which did not keep its recipe"]
    found = [f"learning rates and layers were chosen on {_CHOSEN_ON[recipe['select_on']]}"]
    paper, recipe = {**paper_recipe(name), **LATER}, {**LATER, **recipe}
    other = [f"{key} {recipe[key]}" for key, value in paper.items() if recipe[key] != value]
    if other:
        found.append(f"NOT the paper's recipe: {', '.join(other).replace('_size', '')}")
    return found
