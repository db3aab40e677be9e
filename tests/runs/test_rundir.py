"""The run directory: never written over, never half written, and enough to get the model back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nextpatch.core import files
from nextpatch.core.errors import FileError
from nextpatch.core.files import write_text
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs import run as runs
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.logs import truncate_metrics
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, RunError, load_run, sessions_of, untrained_model
from saved import save

MODEL = ModelConfig("nano", (8, 8), 4, 1, embed_dim=16, depth=1, num_heads=2, head_width=16, head_depth=1)
RECIPE = Recipe(MODEL, train=TrainConfig(seed=3))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", RECIPE)


def test_a_directory_with_anything_in_it_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert RunDir.create(tmp_path / "empty", RECIPE).recipe == RECIPE
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("x")
    for name in ("used", "file", "empty"):
        with pytest.raises(RunError, match="exists and is not empty; choose another --out, or add --resume"):
            RunDir.create(tmp_path / name, RECIPE)
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["thesis.tex"]


def test_a_directory_that_a_kill_left_at_the_very_start_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.toml.unfinished").write_text("[mod")
    assert RunDir.create(tmp_path / "run", RECIPE).recipe == RECIPE
    assert RunDir.open(tmp_path / "run").recipe == RECIPE


def test_a_tail_of_any_bytes_is_no_entry(run: RunDir) -> None:
    run.metrics_path.write_bytes(b'{"kind": "val", "step": 1}\n{"step": null}\n\xff\xfe\x00{"st')
    assert [entry["step"] for entry in run.read_metrics()] == [1]
    truncate_metrics(run.metrics_path, 5)
    assert run.metrics_path.read_text() == '{"kind": "val", "step": 1}\n'


def test_what_is_no_run_says_why(tmp_path: Path, run: RunDir) -> None:
    with pytest.raises(RunError, match=r"does not exist.*give the --out"):
        RunDir.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=rf"{run.path.name}x \(did you mean '{run.path.name}'\?\) is not a run"):
        RunDir.open(run.path.with_name(f"{run.path.name}x"))
    with pytest.raises(RunError, match=r"has no recipe\.toml"):
        RunDir.open(tmp_path)
    with pytest.raises(RunError, match=r"no checkpoint yet; continue it with: nextpatch pretrain --out .* --resume"):
        load_run(run.path)


def test_the_model_comes_back_with_the_weights_of_its_step(run: RunDir) -> None:
    models = {}
    for step in (4, 9):
        models[step] = AIM(MODEL)
        init_weights(models[step], step)
        save_checkpoint(run.checkpoints, step, {"model": models[step].state_dict()}, {"step": step})
    for step, loaded in ((9, load_run(run.path)), (4, load_run(run.path, step=4))):
        assert (loaded.step, loaded.recipe, loaded.model.training) == (step, RECIPE, False)
        state = models[step].state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.model.state_dict().items())


def test_weights_of_another_model_are_refused(run: RunDir) -> None:
    save(run.checkpoints, 1)
    with pytest.raises(RunError, match=r"does not hold the model of .*was it edited.*not the same on both"):
        load_run(run.path)


def test_the_random_twin_is_fixed_and_is_not_where_training_began() -> None:
    start = AIM(MODEL)
    init_weights(start, RECIPE.train.seed)
    twin, again = untrained_model(RECIPE), untrained_model(RECIPE)
    for name, weight in twin.named_parameters():
        assert torch.equal(weight, again.get_parameter(name))
        if name.endswith("qkv.weight"):
            assert not torch.equal(weight, start.get_parameter(name))
    other = untrained_model(replace(RECIPE, train=TrainConfig(seed=4)))
    assert not torch.equal(twin.patch_embed.proj.weight, other.patch_embed.proj.weight)


def test_entries_after_the_checkpoint_and_a_torn_line_are_dropped(run: RunDir) -> None:
    truncate_metrics(run.metrics_path, 5)  # nothing there yet
    lines = [json.dumps({"kind": "train", "step": step, "loss": step / 7}) for step in (1, 2, 3, 4)]
    run.metrics_path.write_text("\n".join(lines) + '\n[5]\n{"loss": 5}\n{"step": 5, "lo')  # not all are entries
    assert [entry["step"] for entry in run.read_metrics()] == [1, 2, 3, 4]
    truncate_metrics(run.metrics_path, 2)
    assert run.metrics_path.read_text() == "\n".join(lines[:2]) + "\n"


def test_entries_come_by_step_and_what_is_none_is_told(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    lines = ['{"kind": "val", "step": 2}', '{"step": 2}', '{"kind": "val"}', '{"kind": "val", "step": 1}']
    run.metrics_path.write_text("\n".join(lines) + "\n")
    assert [entry["step"] for entry in run.read_metrics()] == [1, 2]
    assert "2 lines without a kind and a step were passed over" in caplog.text
    run.metrics_path.unlink()
    run.metrics_path.mkdir()
    with pytest.raises(FileError, match=r"metrics\.jsonl cannot be read .*Is a directory.*move it away"):
        run.read_metrics()


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_text(path, "new")
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert path.read_text() == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_text_is_on_the_disk_before_it_replaces_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replaced = Path.replace
    monkeypatch.setattr(files, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("replace"), replaced(path, to))[1])
    write_text(tmp_path / "a.json", "text")
    assert done == [".a.json.unfinished", "replace", tmp_path.name]


def test_the_environment_file_names_versions_and_no_secret(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run.write_environment()
    text = (run.path / "env.json").read_text()
    packages = sessions_of(run.path)[0]["packages"]
    assert packages["torch"] == torch.__version__.split("+")[0] or torch.__version__ in text
    assert "hf_secret" not in text


def test_every_session_leaves_its_own_environment(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    (run.path / "env.json").write_text(json.dumps({"ranks": 7}))  # as it was written once
    for ranks in (1, 2):
        run.write_environment(ranks)
    assert [session["ranks"] for session in sessions_of(run.path)] == [7, 1, 2]
    (run.path / "env.json").write_text('{"sessions": [')
    run.write_environment(3)
    assert [session["ranks"] for session in sessions_of(run.path)] == [3]
    assert "env.json cannot be read" in caplog.text


def test_the_revision_is_asked_for_without_a_lock_on_the_repository(monkeypatch: pytest.MonkeyPatch):
    asked: list[list[str]] = []

    def git(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "abc", "")

    monkeypatch.setattr("nextpatch.runs.run.subprocess.run", git)
    assert runs._git_revision() == "abc+"
    assert all("--no-optional-locks" in words for words in asked)
