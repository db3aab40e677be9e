"""Graphs and other layouts compute what the model computes; cards say what is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform
from timm.models.vision_transformer import VisionTransformer

import nextpatch
from losses import predict
from nextpatch.cli import main
from nextpatch.core.marks import is_ours
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.publish import graph as graphs
from nextpatch.tasks.publish.graph import EXTRA, Graph, to_onnx, to_torch_export
from nextpatch.tasks.publish.hub import write_for_hub
from nextpatch.tasks.publish.timm import to_timm
from nextpatch.weights.error import WeightsError

PIXELS = torch.rand(5, 3, 28, 28, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("what", ["logits", "patches"])
def test_onnx_runs_elsewhere_and_agrees(weights: Path, tmp_path: Path, what: Any) -> None:
    import onnxruntime

    model = nextpatch.load(weights)
    assert to_onnx(model, tmp_path / "m.onnx", what) < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"pixels": PIXELS.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), Graph(model, what)(PIXELS), rtol=1e-4, atol=1e-4)
    assert [one.name for one in session.get_outputs()] == [what]
    assert is_ours(tmp_path / "m.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["layers"]) == ["block_3", "block_4"]
    assert json.loads(facts["view"])["cover"] == [32, 32]
    assert (json.loads(facts["classes"]), facts["gives"]) == (list(model.classes), what)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # PyTorch 2.11's own reader
def test_torch_export_runs_alone_and_agrees(weights: Path, tmp_path: Path) -> None:
    model = nextpatch.load(weights)
    assert to_torch_export(model, tmp_path / "m.pt2") < 1e-4
    assert is_ours(tmp_path / "m.pt2")
    extra = {EXTRA: ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    assert json.loads(json.loads(extra[EXTRA])["layers"]) == ["block_3", "block_4"]
    with torch.no_grad():
        normalized = (PIXELS - torch.tensor(model.about.mean).view(-1, 1, 1)) / torch.tensor(model.about.std).view(
            -1, 1, 1
        )
        torch.testing.assert_close(program(PIXELS), model(normalized), rtol=1e-4, atol=1e-4)


def test_timm_computes_the_same_blocks(weights: Path, tmp_path: Path) -> None:
    model, images = nextpatch.load(weights, img_size=(42, 28)), torch.randn(2, 3, 42, 28)
    assert to_timm(model, tmp_path / "t.safetensors") < 1e-4
    with safe_open(tmp_path / "t.safetensors", "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items() if key != "sha256"}
    theirs = VisionTransformer(**facts["timm"]).eval()
    theirs.load_state_dict(load_file(tmp_path / "t.safetensors"))
    picture = Image.fromarray(np.kron(np.arange(48, dtype=np.uint8).reshape(8, 6) * 5, np.ones((9, 9), np.uint8)))
    view = create_transform(**facts["pretrained_cfg"])(picture.convert("RGB"))
    assert view.shape == (3, 42, 28)
    assert float((view - model.inputs(model.transform(picture)[None])[0]).abs().mean()) < 0.1
    with torch.no_grad():
        found = theirs.forward_intermediates(images, indices=[3], norm=False, output_fmt="NLC", intermediates_only=True)  # type: ignore[operator]
        torch.testing.assert_close(found[0], model.features(images, ["block_3"])["block_3"], rtol=1e-4, atol=1e-4)
    assert facts["timm"]["img_size"] == [42, 28]
    assert facts["layers"] == ["block_3", "block_4"]


def test_what_is_off_is_not_written(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "TOLERANCE", -1.0)
    with pytest.raises(WeightsError, match="it was not written"):
        to_torch_export(nextpatch.load(weights), tmp_path / "m.pt2")
    assert not (tmp_path / "m.pt2").exists()


def test_the_hubs_folder_loads_again_and_has_a_card(weights: Path, tmp_path: Path) -> None:
    folder = write_for_hub(str(weights), "me/aim-mine", tmp_path / "hub", license="apache-2.0")
    assert nextpatch.load(folder).digest() == nextpatch.load(weights).digest()
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert 'nextpatch.load("me/aim-mine")' in card
    assert "Features are the mean of blocks 3, 4" in card
    assert "predicts no patches" in card


def test_pushing_makes_the_repository_and_uploads_the_folder(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Any] = []

    class Api:
        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> str:
            done.append((repo, private, exist_ok))
            return f"https://the.hub/{repo}"

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            done.append(sorted(path.name for path in Path(folder_path).iterdir()))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert main(["export", str(weights), "--to", "hub", "--repo", "me/x", "--private"]) == 0
    assert done == [("me/x", True, True), ["README.md", "config.json", "model.safetensors"]]
    assert capsys.readouterr().out.strip() == "https://the.hub/me/x"

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("cannot be reached")

    monkeypatch.setattr(Api, "create_repo", refused)
    assert main(["export", str(weights), "--to", "hub", "--repo", "me/x"]) == 2
    assert "log in first" in capsys.readouterr().err


def test_as_typed(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.pt2"
    assert main(["export", str(weights), "--to", "torch.export", "--out", str(out), "--what", "pooled"]) == 0
    assert "differs from the model by" in capsys.readouterr().out
    assert main(["export", str(weights), "--to", "onnx"]) == 2
    assert "name the file to write: --out" in capsys.readouterr().err
    assert main(["export", str(weights), "--to", "released", "--out", str(tmp_path / "again")]) == 0
    assert nextpatch.load(tmp_path / "again").digest() == nextpatch.load(weights).digest()
    assert main(["export", str(weights), "--to", "hub"]) == 2


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_folder_with_somebodys_files_is_refused_and_ours_is_written_again(
    weights: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["export", str(weights), "--to", "hub", "--out", str(out)]
    out.mkdir()
    (out / name).write_text("mine")
    assert main(words) == 2
    assert f"{name} exists and was not written by nextpatch" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [name]
    (out / name).unlink()
    for _ in range(2):
        assert main(words) == 0


@pytest.mark.parametrize(
    ("to", "name"), [("onnx", "model.onnx"), ("timm", "timm.safetensors"), ("released", "released/config.json")]
)
def test_in_a_run_too_somebodys_file_stays(
    tmp_path: Path, to: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir.create(tmp_path / "run", Recipe(ModelConfig("nano", (16, 16), 8), DataConfig(("photos",)))).path
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("mine")
    assert main(["export", str(run), "--to", to]) == 2
    assert f"{name} exists and was not written by nextpatch" in capsys.readouterr().err
    assert (run / name).read_text() == "mine"


@pytest.mark.parametrize("objective", ["next_patch", "masked"])
def test_a_card_says_what_was_learned(objective: str, tmp_path: Path) -> None:
    cfg = ModelConfig("nano", (16, 24), 8, 3, embed_dim=32, depth=3, num_heads=2, objective=objective)
    run = RunDir.create(
        tmp_path / "run", Recipe(cfg, DataConfig(train=("photos",)), train=TrainConfig(precision="fp32", device="cpu"))
    )
    model = AIM(cfg)
    init_weights(model, 0)
    save_checkpoint(run.checkpoints, 1, {"model": model.state_dict()}, {"step": 1})
    text = (write_for_hub(str(run.path), "me/x", tmp_path / "hub") / "README.md").read_text()
    assert ("next-patch-prediction" in text) == ("autoregressive" in text) == (objective == "next_patch")
    said = {"next_patch": "next_patch, prefix attention", "masked": "masked (3 of 6 patches), bidirectional attention"}
    assert f"- objective: {said[objective]}" in text


def test_a_runs_card_says_how_it_learned_and_what_was_measured(tmp_path: Path) -> None:
    cfg = ModelConfig("nano", (16, 24), 8, 3, embed_dim=32, depth=3, num_heads=2, head_width=16, head_depth=1)
    data = DataConfig(train=("photos",), val_images=6, workers=0)
    run = RunDir.create(
        tmp_path / "run",
        Recipe(
            cfg, data, train=TrainConfig(20, global_batch_size=4, micro_batch_size=4, precision="fp32", device="cpu")
        ),
    )
    model = AIM(cfg)
    init_weights(model, 0)
    save_checkpoint(run.checkpoints, 20, {"model": model.state_dict()}, {"step": 20})
    speed = {"elapsed_s": 2.0, "images_per_s": 40.0, "tflops": 0.1}
    entries = [
        {"kind": "train", "step": 20, "images": 80, "loss": 1.0, **speed},
        {"kind": "val", "step": 20, "loss": 0.9123},
    ]
    run.metrics_path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    row = {"labels": 9, "features": "pre-trained", "probe": "linear", "test_top1": 61.5, "test_ci95": [50.0, 70.0]}
    (run.path / "probe.json").write_text(
        json.dumps({"num_test": 30, "test": "test", "checkpoint_step": 10, "results": [row]})
    )
    folder = write_for_hub(str(run.path), "me/x", tmp_path / "hub")
    assert "61.5" not in (folder / "README.md").read_text()  # of other weights
    (run.path / "probe.json").write_text(
        json.dumps({"num_test": 30, "test": "test", "checkpoint_step": 20, "results": [row]})
    )
    folder = write_for_hub(str(run.path), "me/x", tmp_path / "hub")
    card = (folder / "README.md").read_text()
    for words in ("- data: photos", "20 steps of 4", "0.9123", "| pre-trained | linear | 61.5 | 50.0 to 70.0 |"):
        assert words in card
    assert (folder / "pixel_head.safetensors").exists()
    assert predict(nextpatch.load(folder).aim, torch.randn(1, 3, 16, 24), torch.tensor([2])).shape == (1, 6, 192)
