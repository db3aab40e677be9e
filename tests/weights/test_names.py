"""A name of weights that a file gives runs no code and follows no URL; one that is typed may, after a question."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.config import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.tasks.pretrain.warm_start import begin_from, shaped_by_weights
from nextpatch.weights.error import WeightsError
from nextpatch.weights.names import from_file

SOURCES = Path(nextpatch.__file__).parent
EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef entry(): ...\n"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "hubconf.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "apple/aim-600M", "hub:me/aim@main", "me/aim", "runs/photos", "/abs/run", "./a.safetensors", "a.pth+b.pth",
        "runs/x+runs/x/probe.safetensors", "timm:vit_base_patch8_224.dino", "timm:vit_tiny?random", "hf:google/vit",
        "a b/üñ=1.safetensors", "C:\\runs\\photos",
    ],
)  # fmt: skip
def test_the_closed_list_of_names_in_files(name: str) -> None:
    assert from_file(name, "x") == name


@pytest.mark.parametrize(
    "name",
    [
        "torchhub:./evil:entry", "torchhub:me/repo:entry", "timm:hf-hub:me/x", "timm:local-dir:/tmp/x", "timm:../x",
        "hf:/abs", "hf:../x", "hf:https://a/b", "http://10.0.0.1/x.safetensors", "s3://b/x", "file:///x", "", None, 3,
        ["a"], "//server/share/x", "\\\\server\\share", "a\0b", "pipe:cat x", "hub:torchhub:./evil:entry",
        "TORCHHUB:./evil:entry", "hf:a/b/c", "data:text/plain,x",
    ],
)  # fmt: skip
def test_every_other_name_in_a_file_is_refused(name: object) -> None:
    with pytest.raises(WeightsError, match=r"index\.parquet names the weights"):
        from_file(name, "index.parquet")


@pytest.mark.parametrize("init", ["torchhub:./evil:entry", "timm:vit_tiny_patch16_224?random", "hf:a/b", "x://3"])
def test_a_recipe_never_begins_with_code(evil: Path, init: object) -> None:
    with pytest.raises((ConfigError, WeightsError), match=r"train\.init"):
        shaped_by_weights({"train": {"init": init}})
    assert not (evil / "ran").exists()
    with pytest.raises((ConfigError, WeightsError), match=r"train\.init"), torch.device("meta"):
        begin_from(AIM(ModelConfig("nano", (28, 28))), str(init))


@pytest.mark.parametrize(("answer", "runs"), [("n", False), ("", False), (None, False), ("y", True)])
def test_a_typed_folder_is_asked_about_and_remembered(
    evil: Path, answer: str | None, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(*_: object) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", answered)
    with pytest.raises(WeightsError, match="get_intermediate_layers" if runs else "trust"):
        nextpatch.load("torchhub:./evil:entry")
    assert (evil / "ran").exists() == runs
    if runs:
        monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked again"))
        with pytest.raises(WeightsError, match="get_intermediate_layers"):
            nextpatch.load("torchhub:./evil:entry")


TYPED = {  # every place that opens weights, and why the name cannot come from a file unseen
    "api/finetune.py": "what the call has written",
    "api/pretrain.py": "a run, whose recipe is values",
    "api/weights.py": "the caller",
    "bench/run.py": "BenchConfig: the command line, or the caller",
    "cli/classify.py": "the command line",
    "cli/density.py": "the command line",
    "cli/export.py": "the command line",
    "tasks/density/rank.py": "the command line",
    "tasks/embed/embedder.py": "EmbedConfig: the command line, or the caller",
    "tasks/embed/similar.py": "--weights, or through from_file",
    "tasks/evaluate/extractor.py": "--features",
    "tasks/finetune/run.py": "FinetuneConfig: typed again when it is resumed",
    "tasks/generate/run.py": "the command line, or settings.json through from_file",
    "tasks/pretrain/warm_start.py": "a recipe: through from_file",
    "tasks/probe/probed_model.py": "ProbeConfig: the command line, or the caller",
    "tasks/publish/hub.py": "the command line, or the caller",
}


def test_whoever_opens_weights_is_known() -> None:
    found = set()
    for path in SOURCES.rglob("*.py"):
        if "weights.load" not in (text := path.read_text("utf-8")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "nextpatch.weights.load":
                found |= {path.relative_to(SOURCES).as_posix() for name in node.names if name.name == "load"}
    assert found - {"__init__.py"} == set(TYPED)
