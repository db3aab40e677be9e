"""What a validation of codes tells beside its loss: exact for any cut into batches, and the same over ranks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from nextpatch.core.random import FixedSeed
from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch
from nextpatch.train.compute import Compute
from nextpatch.train.validation import validation_loss
from tokenizers_made import of_tokens

SMALL = {"size": "nano", "embed_dim": 16, "depth": 1, "num_heads": 2, "head_width": 16, "head_depth": 1,
         "img_size": (9, 9), "patch_size": 3, "in_chans": 3}  # fmt: skip
CPU = Compute(torch.device("cpu"), "fp32", (0.5,) * 3, (0.25,) * 3)


def batches(pixels: torch.Tensor, size: int) -> list[Batch]:
    return [
        Batch(part, torch.arange(i * size, i * size + len(part)), torch.zeros(len(part), dtype=torch.int64), [""])
        for i, part in enumerate(pixels.split(size))
    ]


@pytest.mark.parametrize("kind", ["kmeans", "surroundings"])
def test_perplexity_and_accuracy_are_those_of_all_scored_patches(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = of_tokens(SMALL, tmp_path, monkeypatch, kind=kind)
    model, objective = AIM(cfg).eval(), NextPatch(cfg)
    init_weights(model, 0)
    pixels = torch.randint(0, 256, (14, 3, 9, 9), dtype=torch.uint8)
    found = validation_loss(objective, model, batches(pixels, 14), CPU)
    draws, images = objective.draw(FixedSeed.VALIDATION, torch.arange(14)), CPU.inputs(pixels)
    predicted, codes = objective.predict(model, images, draws)[:, :-1], objective.wanted(images)[:, 1:]
    right = (predicted.argmax(dim=-1) == codes)[objective.scored(draws)].double()
    assert 0 < found.figures["accuracy"] < 1
    assert found.figures["accuracy"] == pytest.approx(float(right.mean()), abs=1e-12)
    assert found.figures["perplexity"] == pytest.approx(math.exp(found.loss))
    entry = found.entry()
    assert "figures" not in entry
    assert entry["accuracy"] == found.figures["accuracy"]
    cut = validation_loss(objective, model, batches(pixels, 5), CPU)
    assert cut.figures["accuracy"] == found.figures["accuracy"]


def test_of_pixels_nothing_is_told_beside_the_loss() -> None:
    from nextpatch.model.config import ModelConfig

    cfg = ModelConfig(**SMALL)
    model = AIM(cfg)
    init_weights(model, 0)
    found = validation_loss(NextPatch(cfg), model, batches(torch.zeros(2, 3, 9, 9, dtype=torch.uint8), 2), CPU)
    assert found.figures == {}
    assert not {"figures", "accuracy"} & found.entry().keys()
