"""Probing and fine-tuning from Python: the figures of the command line, from labels in memory; stopped, they go on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nextpatch
from nextpatch.core.errors import UserError
from nextpatch.measure.probe_result import ProbeResult

PIXELS = np.random.default_rng(1).integers(0, 120, (36, 28, 28), np.uint8)
LABELS = [i % 2 for i in range(36)]
PIXELS[1::2, :, :14] += 120
NAMES = ("dark", "bright")
FEW: dict[str, Any] = {"probes": ["linear", "knn"], "epochs": 2, "lrs": 1e-3, "neighbors": 1, "quiet": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same images as files, in the order of their names."""
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        place = tmp_path / "labeled" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return tmp_path / "labeled"


def figures(found: ProbeResult) -> list[tuple[Any, ...]]:
    return [(one.labels, one.features, one.probe, one.layers, one.lr, one.test_top1) for one in found.results]


def test_a_probe_of_labels_in_memory_is_that_of_files(
    folder: Path, nano_run: nextpatch.PretrainResult, tmp_path: Path
) -> None:
    files = sorted(folder.rglob("*.png"))
    images, labels = [Image.open(file) for file in files], [file.parent.name for file in files]
    wanted = nextpatch.probe(nano_run, folder, out=tmp_path / "files", **FEW)
    found = nextpatch.probe(nano_run, (images, labels), out=tmp_path / "memory", **FEW)
    assert figures(found) == figures(wanted)
    assert found.classes == wanted.classes == ("bright", "dark")
    assert "Test accuracy" in repr(found)
    assert (tmp_path / "memory" / "probe.html").stat().st_size


def test_a_model_in_memory_is_probed_and_stays_as_it_is(nano_run: nextpatch.PretrainResult) -> None:
    model = nano_run.load()
    before = model.digest()
    test = (PIXELS[:8] // 2, LABELS[:8])
    found = nextpatch.probe(model, (PIXELS, LABELS), test=test, precision="bf16", **FEW)
    assert {one.features for one in found.results} == {"pre-trained", "raw pixels"}  # no run, so no twin
    assert (model.digest(), found.num_test) == (before, 8)
    with pytest.raises(UserError, match="among the training images"):
        nextpatch.probe(model, (PIXELS, LABELS), test=(PIXELS[:8], LABELS[:8]), **FEW)


def test_wrong_values_and_a_test_of_the_same_are_told(nano_run: nextpatch.PretrainResult) -> None:
    for values, told in (({"lr": 1.0}, "did you mean 'lrs'"), ({"epochs": -1}, "epochs -1")):
        with pytest.raises(UserError, match=told):
            nextpatch.probe(nano_run, (PIXELS, LABELS), quiet=True, **values)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="are both"):
        nextpatch.probe(nano_run, (PIXELS, LABELS), test=(PIXELS, LABELS), **FEW)


class Interrupting(torch.utils.data.Dataset[Any]):
    """Images with labels; a stop comes while one is read for the first update."""

    targets = LABELS

    def __init__(self, out: Path | None) -> None:
        self.out = out

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> Any:
        if self.out and (self.out / "metrics.jsonl").exists():
            self.out = None
            signal.raise_signal(signal.SIGINT)
        return PIXELS[index], LABELS[index]


def test_a_stopped_fine_tuning_goes_on_bit_for_bit_and_classifies(
    nano_run: nextpatch.PretrainResult, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    values: dict[str, Any] = {"epochs": 2, "batch_size": 14, "seed": 1, "quiet": True}
    whole = nextpatch.finetune(nano_run, Interrupting(None), tmp_path / "whole", **values)
    with pytest.raises(nextpatch.Stopped, match="resume=True"):
        nextpatch.finetune(nano_run, Interrupting(tmp_path / "run"), tmp_path / "run", **values)
    again = nextpatch.finetune(nano_run, Interrupting(None), tmp_path / "run", resume=True, **values)
    assert again.load().digest() == whole.load().digest()
    assert again.top1 == whole.top1 == json.loads((tmp_path / "run" / "finetune.json").read_text())["test_top1"]
    assert "test accuracy" in repr(again)
    named = nextpatch.classify(again, PIXELS[:3], top=2, quiet=True)
    assert [len(one.top) for one in named] == [2, 2, 2]
    assert named.images == nextpatch.classify(again.load(), list(PIXELS[:3]), top=2, quiet=True).images
    other = (PIXELS[::-1].copy(), LABELS)
    with pytest.raises(UserError, match="other"):
        nextpatch.finetune(nano_run, other, tmp_path / "run", resume=True, **values)
