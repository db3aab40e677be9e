"""A small run directory with everything in it: data, weights, metrics and probe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nextpatch.config import dumps_toml, to_dict
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.weights.classifier import ClassifierHead, save_classifier_head

MODEL = ModelConfig("nano", (16, 24), 8, 3, embed_dim=32, depth=3, num_heads=2, head_width=16, head_depth=1)
TRAIN = TrainConfig(
    20, global_batch_size=4, micro_batch_size=4, precision="fp32", device="cpu", val_every=10, checkpoint_every=10
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished and probed run over twelve coloured images."""
    path = tmp_path / "a <run>"
    path.mkdir()
    write_images(tmp_path / "images", 12)
    recipe = Recipe(
        MODEL.resolved(), DataConfig(train=(str(tmp_path / "images"),), val_images=6, workers=0), train=TRAIN
    )
    (path / "recipe.toml").write_text(dumps_toml(to_dict(recipe)))
    (path / "env.json").write_text(json.dumps({"versions": {"torch": torch.__version__}}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics()))
    (path / "probe.json").write_text(json.dumps(probe()))
    save_classifier_head(path / "probe.safetensors", classifier_head())
    model = AIM(MODEL)
    init_weights(model, 0)
    save_checkpoint(path / "checkpoints", 20, {"model": model.state_dict(), "optimizer": {}}, {"step": 20})
    return path


def classifier_head() -> ClassifierHead:
    torch.manual_seed(0)
    classifier = AttentiveClassifier(32, 2, 2)
    torch.nn.init.normal_(classifier.cls_token)
    return ClassifierHead(classifier.eval(), ("block_1", "block_2"), ("a", "b"))


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (16, 24, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")


def metrics() -> list[dict[str, Any]]:
    outputs = MODEL.num_patches - 1
    val = {
        "kind": "val",
        "chunk_loss": [None, *[0.9] * 5],
        "position_loss": [None, *[0.9] * (outputs - 1)],
        "images": 6,
    }
    train = {"kind": "train", "lr": 1e-3, "grad_norm": 1.0, "images_per_s": 100.0, "tflops": 0.1}
    return [
        *({**train, "step": s, "loss": 1.2 - s / 50, "images": 4 * s, "elapsed_s": s / 4} for s in range(1, 21)),
        *({**val, "step": s, "loss": 1.1 - s / 50, "elapsed_s": s / 4} for s in (0, 10, 20)),
    ]


def probe() -> dict[str, Any]:
    def row(labels: int, features: str, kind: str, top1: float) -> dict[str, Any]:
        return {"labels": labels, "features": features, "probe": kind, "layers": ["block_1"], "lr": 1e-3, "k": None,
                "select_top1": top1, "test_top1": top1, "test_ci95": [top1 - 1, top1 + 1]}  # fmt: skip

    kinds = (("pre-trained", "attentive", 70.0), ("random init", "attentive", 60.0), ("raw pixels", "linear", 62.0))
    sweep = [
        {"labels": 1000, "probe": "attentive", "features": "pre-trained", "layers": f"block_{b}", "lr": 1e-3,
         "select_top1": 60.0 + b} for b in range(3)
    ]  # fmt: skip
    return {
        "data": "train.parquet", "test": "test.parquet", "classes": ["a", "b"], "num_test": 500, "num_select": 100,
        "num_train_pool": 2000, "seed": 0, "elapsed_s": 1.0, "checkpoint_step": 20, "grid": {}, "attention": {},
        "results": [row(n, f, k, top1 + n / 200) for n in (100, 1000) for f, k, top1 in kinds], "sweep": sweep,
    }  # fmt: skip
