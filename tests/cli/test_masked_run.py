"""A run of the objective masked goes through every verb: its page, preview, probe, fine-tuning, and codes as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import nextpatch
from labeled import CLASSES, write_labeled
from nextpatch.cli import main

MODEL = ["--model.patch-size", "4", "--model.embed-dim", "16", "--model.depth", "3", "--model.num-heads", "2",
         "--model.head-width", "16", "--model.head-depth", "1", "--model.objective", "masked"]  # fmt: skip
QUICK = ["--train.steps", "8", "--train.global-batch-size", "8", "--train.val-every", "4", "--data.workers", "0",
         "--data.val-images", "6", "--train.threads", "1", "--train.precision", "fp32"]  # fmt: skip
MASKED = "3 of 6 patches masked"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labeled(tmp_path_factory.mktemp("photos"), 14, 0)


@pytest.fixture(scope="module", params=["norm_pixels", "tokens"])
def run(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    target = ["--model.target", request.param]
    if request.param == "tokens":
        codes = str(out.parent / "codes.safetensors")
        assert main(["tokenizer", "fit", str(photos), "--out", codes, "--codes", "8", "--patch-size", "4"]) == 0
        target += ["--model.tokenizer", codes]
    assert main(["pretrain", "--data", str(photos), "--out", str(out), *MODEL, *QUICK, *target]) == 0
    return out


def test_its_page_shows_what_was_masked(run: Path) -> None:
    assert main(["report", str(run), "--images", "2"]) == 0
    page = " ".join((run / "report.html").read_text().split())
    values = json.loads((run / "report.json").read_text())
    assert [note for note in values["notes"] if "not measured" not in note] == []
    assert f"Drawn for each image of 6 patches: {MASKED}" in page
    assert "The model predicts each masked patch from all patches that are not masked." in page
    assert "prefix" not in page
    assert all(f'<section id="{section}"' in page for section in ("places", "completions", "features"))
    places = values["validation"]
    assert places["map"] == places["position_loss"]
    assert any(loss is not None for loss in places["map"])


def test_a_preview_of_it_tells_what_is_masked(run: Path, photos: Path, tmp_path: Path) -> None:
    recipe = str(run / "recipe.toml")
    words = ["data", "preview", str(photos), "--recipe", recipe, "--images", "2", "--out", str(tmp_path / "look")]
    assert main(words) == 0
    [page] = (tmp_path / "look").glob("*.html")
    assert page.read_text().count(MASKED) == 2 * 3  # views


def test_its_features_are_probed_and_fine_tuned(run: Path, photos: Path, tmp_path: Path) -> None:
    test, quick = write_labeled(tmp_path / "test", 6, 1), ["--epochs", "2", "--batch-size", "8", "--device", "cpu"]
    few = ["--labels", "30", "--probes", "attentive", "--lrs", "1e-3"]
    assert main(["probe", str(run), "--data", str(photos), "--test", str(test), *few, *quick]) == 0
    rows = json.loads((run / "probe.json").read_text())["results"]
    assert {row["features"] for row in rows} == {"pre-trained", "random init", "raw pixels"}
    tuned = tmp_path / "tuned"
    words = ["--weights", str(run), "--data", str(photos), "--test", str(test), "--out", str(tuned), *quick]
    assert main(["finetune", *words, "--full"]) == 0
    model, base = nextpatch.load(tuned / "model"), nextpatch.load(run)
    assert model.classes == CLASSES
    assert model.aim.cfg.objective == "masked"
    assert not torch.equal(model.aim.trunk.blocks[0].mlp.fc1.weight, base.aim.trunk.blocks[0].mlp.fc1.weight)
