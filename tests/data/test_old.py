"""What earlier revisions wrote loads, goes on and measures: see `old/make.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import nextpatch
from nextpatch.cli import main
from nextpatch.data.sources.open import open_source
from nextpatch.runs.run import RunDir
from nextpatch.weights.classifier import mark_of

OLD = Path(__file__).parent / "old"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """All of it, in another place than where it was made."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def losses(folder):
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {entry["step"]: entry["loss"] for entry in entries if entry["kind"] == "val"}


@pytest.mark.parametrize("name", ["run", "sharded"])
def test_a_run_goes_on_to_the_losses_that_it_had(old, name):
    shutil.rmtree(old / name / "checkpoints" / "step_00000006", ignore_errors=True)
    assert main(["pretrain", "--out", name, "--resume", "--data", "photos"]) == 0
    assert losses(old / name) == pytest.approx(losses(OLD / name), rel=1e-5)
    new, then = (nextpatch.load(folder / name / "model.safetensors").state_dict() for folder in (old, OLD))
    assert new.keys() == then.keys()
    for key, tensor in then.items():
        torch.testing.assert_close(new[key], tensor, atol=1e-5, rtol=1e-4)


def test_weights_are_the_same_by_every_name(old):
    names = ("exported.safetensors", "run/model.safetensors", "run")
    digests = [mark_of(nextpatch.load(name, step=6 if name == "run" else None).trunk) for name in names]
    assert len(set(digests)) == 1
    assert mark_of(nextpatch.load("run", step=3, layers="last").trunk) not in digests


def test_features_are_found_again_and_are_those_of_now(old, capsys):
    assert main(["embed", "photos", "--weights", "run", "--out", "new.parquet"]) == 0
    assert (
        main(["similar", "photos/dog/3.png", "--index", "features.parquet", "--data", "photos", "--weights", "run"])
        == 0
    )
    assert "dog/3.png" in capsys.readouterr().out
    import pyarrow.parquet as pq

    new, then = (np.stack(pq.read_table(name)["features"].to_pylist()) for name in ("new.parquet", "features.parquet"))
    np.testing.assert_allclose(new, then, atol=2e-3)


def test_a_probe_gives_its_figure_and_the_run_its_page(old):
    model = nextpatch.load("run")
    tested = open_source("test")
    kept = json.loads((old / "run" / "probe.json").read_text())
    images = [str(old / tested.key(i)) for i in range(len(tested))]
    found = model(model.inputs(model.transform(images))).argmax(1).tolist()
    right = sum(label == tested.label(i) for i, label in enumerate(found))
    chosen = next(r for r in kept["results"] if r["probe"] == "attentive" and r["features"] == "pre-trained")
    assert 100 * right / len(tested) == pytest.approx(chosen["test_top1"], abs=1e-2)
    assert main(["report", "run"]) == 0
    assert "100.0 %" in (old / "run" / "report.html").read_text()


@pytest.mark.slow
def test_a_fine_tuning_goes_on_and_its_weights_classify(old, capsys):
    words = ["--weights", "run", "--data", "photos", "--test", "test", "--out", "finetuned", "--epochs", "2"]
    (old / "finetuned" / "finetune.json").unlink()
    assert main(["finetune", *words, "--resume"]) == 0
    capsys.readouterr()
    assert main(["classify", "--weights", "finetuned/model", "--json", "test/dog/0.png"]) == 0
    assert '"dog"' in capsys.readouterr().out


def test_shards_of_an_earlier_version_are_indexed_once_more(old):
    index = old / "shards" / ".nextpatch" / "index" / "00000.tar.idx"
    open_source("shards")
    before = index.stat().st_mtime_ns
    source = open_source("shards")
    assert (len(source), source.classes) == (18, ("cat", "dog"))
    assert sorted(source.read(i) for i in range(18)) == sorted(path.read_bytes() for path in OLD.glob("photos/*/*.png"))
    assert index.stat().st_mtime_ns == before
    assert main(["data", "verify", "shards"]) == 0


def test_runs_are_runs():
    assert all(RunDir.exists(OLD / name) for name in ("run", "sharded"))
