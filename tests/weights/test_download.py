"""Weights from the Hub, against a server on loopback that answers as the Hub does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import save

import nextpatch
import nextpatch.weights.error
from hub_models import Hub
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.weights.classifier import ClassifierHead, save_classifier_head
from ranks import run_alone
from weights_layout import CONFIG, state_of


def opened(spec: str, layers: str) -> list[str]:
    """(what is said of the weights, the error instead)."""
    try:
        model = nextpatch.load(spec, layers=layers, img_size=(28, 28))
    except nextpatch.weights.error.WeightsError as error:
        return ["", str(error)]
    return [f"{','.join(model.about.layers)} {model.classifier is not None} {model.digest()[:12]}", ""]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.files = {
            "me/aim/config.json": json.dumps(CONFIG).encode(),
            "me/aim/model.safetensors": save(state_of(CONFIG)),
        }
        yield hub


class Loaded(NamedTuple):
    stdout: str
    stderr: str


def loaded(hub: Hub, home: Path, spec: str, layers: str = "", offline: bool = False) -> Loaded:
    """What a fresh process makes of a name: the Hub's address is read when its library is imported."""
    told = hub.told(str(home)) | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    return Loaded(*run_alone(opened, spec, layers, env={"HOME": str(home), **told}))


def test_a_model_is_fetched_once_and_then_works_offline(hub: Hub, tmp_path: Path) -> None:
    first = loaded(hub, tmp_path, "me/aim")
    assert first.stdout.split()[:2] == ["block_3,block_4", "True"], first.stderr[-2000:]
    assert sorted(hub.given) == ["config.json", "model.safetensors"]
    assert loaded(hub, tmp_path, "me/aim", offline=True).stdout == first.stdout
    assert len(hub.given) == 2


def test_the_released_names_and_the_head_of_other_layers(hub: Hub, tmp_path: Path) -> None:
    config = {**CONFIG, "probe_layers": 6}
    state = state_of(config)
    hub.files = {
        "apple/aim-600M/config.json": json.dumps(config).encode(),
        "apple/aim-600M/model.safetensors": save(state),
        "apple/AIM/aim_600m_2bimgs_attnprobe_head_best_layers.pth": b"not what was published",
    }
    last = loaded(hub, tmp_path, "apple/AIM-600m")
    assert last.stdout.startswith("block_2,block_3,block_4,block_5,block_6,block_7 True"), last.stderr[-2000:]
    assert "head_best" not in " ".join(hub.given)
    best = loaded(hub, tmp_path, "apple/aim-600M", "best")
    assert "published is ebd45c05" in best.stderr
    assert "removed" in best.stderr


def test_a_probe_of_ones_own_fetches_no_other_head(hub: Hub, tmp_path: Path) -> None:
    hub.files = {name.replace("me/aim", "apple/aim-600M"): data for name, data in hub.files.items()}
    width = CONFIG["embed_dim"]
    head = AttentiveClassifier(width, CONFIG["num_heads"], 2).eval()
    save_classifier_head(tmp_path / "probe.safetensors", ClassifierHead(head, ("block_1",), ("cat", "dog")))
    found = loaded(hub, tmp_path, f"apple/aim-600M+{tmp_path}/probe.safetensors")
    assert found.stdout.startswith("block_1 True"), found.stderr[-2000:]
    assert sorted(hub.given) == ["config.json", "model.safetensors"]


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lie = "a" * 64
    assert "it was removed, try again" in loaded(hub, tmp_path, "me/aim").stderr


@pytest.mark.parametrize(
    ("spec", "offline", "told"),
    [
        ("me/other", False, "no such model on the Hub"),
        ("me/aim@nowhere", True, "the Hub cannot be reached from here"),
        ("me/aim", True, "the Hub cannot be reached from here"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(hub: Hub, spec: str, offline: bool, told: str, tmp_path: Path) -> None:
    done = loaded(hub, tmp_path, spec, offline=offline)
    assert told in done.stderr


def test_a_repository_of_something_else_says_so(hub: Hub, tmp_path: Path) -> None:
    del hub.files["me/aim/model.safetensors"]
    assert "has none of model.safetensors, pytorch_model.bin" in loaded(hub, tmp_path, "me/aim").stderr
