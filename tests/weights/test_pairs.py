"""Weights and heads that were made apart: each goes with what it was fitted to, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.cli import main
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.export import export_model
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.weights.classifier import ClassifierHead, mark_of, save_classifier_head
from nextpatch.weights.error import WeightsError
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.pixel_head import save_pixel_head

CFG = ModelConfig("nano", (16, 24), 8, 3, embed_dim=32, depth=3, num_heads=2, head_width=16, head_depth=1)


def model_at(step: int) -> AIM:
    model = AIM(CFG)
    init_weights(model, 0)
    with torch.no_grad():
        model.trunk.post_trunk_norm.bias.add_(step)
    return model


def save_probe(path: Path, model: AIM) -> None:
    torch.manual_seed(0)
    classifier = AttentiveClassifier(32, 2, 2)
    save_classifier_head(path, ClassifierHead(classifier.eval(), ("block_1",), ("cat", "dog"), mark_of(model)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two steps, of which the first was probed."""
    recipe = Recipe(
        CFG,
        DataConfig(train=("photos",), workers=0),
        train=TrainConfig(20, global_batch_size=4, micro_batch_size=4, precision="fp32", device="cpu"),
    )
    run = RunDir.create(tmp_path / "run", recipe)
    for step in (10, 20):
        save_checkpoint(run.checkpoints, step, {"model": model_at(step).state_dict()}, {"step": step})
    save_probe(run.path / "probe.safetensors", model_at(10))
    return run.path


def test_a_probe_of_another_step_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match="fitted to other weights"):
        nextpatch.load(run)
    assert main(["export", str(run), "--to", "released", "--out", str(run.parent / "out")]) == 2
    assert "take the step that was probed" in capsys.readouterr().err
    assert nextpatch.load(run, step=10).classes == ("cat", "dog")
    assert nextpatch.load(run, layers="last").classifier is None
    save_probe(run / "probe.safetensors", model_at(20))
    assert nextpatch.load(run).classes == ("cat", "dog")
    with pytest.raises(WeightsError, match="fitted to other weights"):
        nextpatch.load(f"{run}+{run}/probe.safetensors", step=10)


def test_the_step_that_is_asked_for_is_exported(run: Path, tmp_path: Path) -> None:
    for words in (["--to", "hub"], ["--to", "released"]):
        out = tmp_path / words[1]
        assert main(["export", str(run), *words, "--step", "10", "--out", str(out)]) == 0
        assert nextpatch.load(out).digest() == nextpatch.load(run, step=10).digest()
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "20 steps" not in card
    with pytest.raises(WeightsError, match="not a run, so it has no step 3"):
        nextpatch.load(tmp_path / "hub", step=3)


def test_a_mark_outlives_conversion_and_changes_with_training(run: Path) -> None:
    backbone = nextpatch.load(run, layers="last")
    mark = mark_of(backbone.trunk)
    assert mark == mark_of(model_at(20))
    assert mark_of(InferenceModel.of(backbone, "cpu", "bf16").backbone.trunk) == mark
    assert mark_of(model_at(10)) != mark


def test_a_file_and_heads_behind_a_plus(run: Path, tmp_path: Path) -> None:
    """As the commands print it: FILE.safetensors+pixel_head.safetensors, whatever the files are called."""
    weights = export_model(RunDir.open(run), tmp_path / "w.safetensors", 10)
    released = export_model(RunDir.open(run), tmp_path / "r.safetensors", 10, "released")
    donor = AIM(ModelConfig(**{**CFG.__dict__, "target": "pixels", "head_width": 8}))
    donor.load_state_dict({k: t for k, t in model_at(10).state_dict().items() if k[:5] != "head."}, strict=False)
    for head in ("pixel_head.safetensors", "mine.safetensors"):
        save_pixel_head(tmp_path / head, donor)
        for file in (weights, released):
            found = nextpatch.load(f"{file}+{tmp_path / head}")
            assert (found.aim.cfg.target, found.aim.cfg.shape.head_width) == ("pixels", 8)
    save_probe(tmp_path / "classes.safetensors", model_at(10))
    both = nextpatch.load(f"{weights}+{tmp_path}/mine.safetensors+{tmp_path}/classes.safetensors")
    assert (both.classes, both.aim.cfg.target) == (("cat", "dog"), "pixels")
    save_probe(tmp_path / "classes.safetensors", model_at(20))
    with pytest.raises(WeightsError, match="fitted to other weights"):
        nextpatch.load(f"{weights}+{tmp_path}/classes.safetensors")


def test_a_pixel_head_says_what_it_predicts_and_in_which_order(run: Path, tmp_path: Path) -> None:
    """The weights may be of another objective, as released ones are: completions would be in another order unsaid."""
    weights = export_model(RunDir.open(run), tmp_path / "w.safetensors", 10)
    donor = AIM(replace(CFG, order="random", order_seed=7, attention="causal", head="none"))
    donor.load_state_dict({k: t for k, t in model_at(10).state_dict().items() if k[:5] != "head."}, strict=False)
    save_pixel_head(tmp_path / "head.safetensors", donor)
    found = nextpatch.load(f"{weights}+{tmp_path}/head.safetensors").aim.cfg
    assert found.resolved() == donor.cfg.resolved()
