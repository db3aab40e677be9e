"""Every command of the page on measuring is run, in order, on small data; the Hub is a server on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from bench.test_bench import pets
from hub_models import Hub
from labeled import write_labeled
from weights_layout import CONFIG, state_of, write_snapshot

PAGE = Path(__file__).parents[1] / "docs" / "measure.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights of ours in place of those that need a network."""
    write_labeled(tmp_path / "photos", 1, 0)
    write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(import nextpatch.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    said: dict[str, Any] = {}
    exec(block.replace("apple/aim-600M", "weights"), said)
    assert said["views"].shape == (1, 3, 28, 28)
    assert len(said["features"]) == 2


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    write_labeled(tmp_path / "photos", 16, 0)
    write_labeled(tmp_path / "test", 5, 1)
    pets(tmp_path / "data" / "pets")
    tool = str(Path(sys.executable).parent / "nextpatch")
    with Hub() as hub:
        hub.files = {
            "apple/aim-600M/config.json": json.dumps(CONFIG).encode(),
            "apple/aim-600M/model.safetensors": save(state_of(CONFIG)),
        }
        env = {**os.environ, **hub.told(str(tmp_path / "hf")), "OMP_NUM_THREADS": "1"}
        for name, *words in commands():
            assert name == "nextpatch"
            done = subprocess.run([tool, *words], capture_output=True, text=True, env=env, cwd=tmp_path)
            said = f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
            assert done.returncode == 0, said
            assert "no page:" not in said
            assert "no report:" not in said
    for made in (
        "photos.parquet", "nearest.png", "patches.npy", "layers.safetensors", "features/part-000002.parquet",
        "probes/600m/probe.html", "probes/600m/probe.safetensors", "probes/shots/probe.json",
        "runs/adapted/adapter/adapter_config.json", "runs/adapted/model/config.json", "runs/full/model/config.json",
        "runs/further/report.html", "runs/head/pixel_head.safetensors", "bench/600m/bench.md", "adapted.onnx",
        "adapted.pt2", "aim.timm.safetensors", "for-the-hub/README.md",
    ):  # fmt: skip
        assert (tmp_path / made).stat().st_size, made


def test_the_page_names_every_verb_and_kind_of_weights() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for word in ("embed", "similar", "classify", "probe", "finetune", "fit-head", "bench", "export", "--init", "timm:",
                 "hf:", "torchhub:", "backbone.pth+", "--ray", "--select-on paper"):  # fmt: skip
        assert word in text
