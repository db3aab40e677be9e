"""`nextpatch check` on a run, a recipe and nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nextpatch.config import dumps_toml, to_dict
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, RunError
from nextpatch.tasks.check.verdict import check
from nextpatch.tokenizer.artifact import write_artifact
from tokenizers_made import kmeans

CFG = ModelConfig(img_size=(16, 24), patch_size=8, in_chans=1, embed_dim=16, depth=2, num_heads=2, head_width=16)


def printed(target: Path | None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    return check(target, console), console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_target_a_small_model_is_examined() -> None:
    code, text = printed(None)
    assert code == 0
    assert "size nano" in text
    assert "all 9 proofs hold" in text


def test_a_recipe_is_examined_with_small_widths(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(dumps_toml(to_dict(Recipe(model=ModelConfig(size="7b", attention="causal")))))
    code, text = printed(path)
    assert code == 0
    assert "mine.toml, with small widths, on 6 x 6 patches" in text.replace("\n", " ")
    assert "what causal attention allows" in text


def test_a_recipe_of_codes_that_are_not_counted_yet_is_examined_with_its_tokenizer(tmp_path: Path) -> None:
    model = ModelConfig(img_size=(12, 8), patch_size=4)
    write_artifact(tmp_path / "codes.safetensors", kmeans(model))
    recipe = Recipe(replace(model, target="tokens", tokenizer=str(tmp_path / "codes.safetensors")))
    (tmp_path / "mine.toml").write_text(dumps_toml(to_dict(recipe)))
    code, text = printed(tmp_path / "mine.toml")
    assert code == 0
    assert "all 11 proofs hold" in text


def test_a_run_is_examined_with_its_weights(tmp_path: Path) -> None:
    recipe = Recipe(model=replace(CFG, head_depth=1))
    run = RunDir.create(tmp_path / "run", recipe)
    model = AIM(recipe.model)
    init_weights(model, 0)
    save_checkpoint(run.checkpoints, 7, {"model": model.state_dict()}, {"step": 7})
    code, text = printed(run.path)
    assert code == 0
    assert "at step 7 on 2 x 3 patches" in text


def test_a_folder_that_is_no_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        printed(tmp_path)


def test_a_failure_is_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NextPatch, "_mask", lambda *_: None)
    code, text = printed(None)
    assert code == 1
    assert "FAILS" in text
    assert "lets it look ahead" in text
    assert "proofs fail" in text
