"""One file with everything that a model is."""

import json

import pytest
import torch
from safetensors import safe_open

import nextpatch
from nextpatch.cli import main
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import CheckpointError, save_checkpoint
from nextpatch.runs.export import export_model
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, RunError, load_run

CFG = ModelConfig(
    size="nano", img_size=(8, 12), patch_size=4, in_chans=2, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
).resolved()  # fmt: skip


@pytest.fixture
def run(tmp_path):
    run = RunDir.create(tmp_path / "run", Recipe(CFG))
    for step in (1, 2):
        model = AIM(CFG)
        init_weights(model, step)
        save_checkpoint(run.checkpoints, step, {"model": model.state_dict(), "optimizer": {}}, {"step": step})
    return run


def assert_same(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("layout", ["ours", "released"])
@pytest.mark.parametrize("step", [None, 1])
def test_what_was_exported_is_the_model_to_the_last_bit(run, tmp_path, layout, step):
    path = export_model(run, tmp_path / "sub" / "m.safetensors", step, layout)
    model = nextpatch.load(path).aim
    assert_same(model, load_run(run.path, step=step).model)
    assert model.cfg == CFG
    assert not model.training
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        assert ("preprocessor.patchifier.proj.weight" in file.keys()) == (layout == "released")  # noqa: SIM118
    assert facts["step"] == str(step or 2)
    assert json.loads(facts["model"])["patch_size"] == 4


def test_a_failed_export_leaves_the_file_that_was_there(run, monkeypatch):
    path = export_model(run)
    before = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("nextpatch.core.files.sync", full)
    with pytest.raises(OSError, match="No space left"):
        export_model(run, step=1)
    assert path.read_bytes() == before
    assert [p.name for p in run.path.glob(".*")] == []


def test_what_cannot_be_exported_is_said(run, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of step 7"):
        export_model(run, step=7)
    with pytest.raises(RunError, match="no checkpoint yet"):
        export_model(RunDir.create(tmp_path / "empty", Recipe(CFG)))


def test_the_verb_says_where(run, tmp_path, capsys):
    assert main(["export", str(run.path), "--out", str(tmp_path / "x.safetensors"), "--layout", "released"]) == 0
    assert "x.safetensors" in capsys.readouterr().out
    assert nextpatch.load(tmp_path / "x.safetensors").aim.cfg == CFG
    assert main(["export", str(tmp_path / "nowhere")]) == 2
