"""`nextpatch pretrain` from the words typed to the run directory."""

import numpy as np
import pytest
from PIL import Image

from nextpatch.cli import main, pretrain
from nextpatch.cli.flags import parse
from nextpatch.config import ConfigError, dumps_toml, read_toml
from nextpatch.train.step import BadStepError

SMALL = ["--model.depth", "1", "--model.head-depth", "1", "--model.embed-dim", "16", "--model.num-heads", "2",
         "--model.head-width", "16", "--train.global-batch-size", "4", "--train.device", "cpu"]  # fmt: skip


def given(*words):
    return pretrain.given(parse(pretrain.Pretrain, "pretrain", words))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(photos, tmp_path):
    """A finished run of two steps."""
    out = tmp_path / "run"
    assert (
        main(["pretrain", "--data", str(photos), "--model", "nano", "--out", str(out), "--train.steps", "2", *SMALL])
        == 0
    )
    return out


def test_short_flags_are_long_ones():
    words = ("--out", "x", "--data", "d", "--model", "tiny", "--train.steps", "3")
    assert given(*words) == {"data": {"train": ("d",)}, "model": {"size": "tiny"}, "train": {"steps": 3}}
    assert given("--out", "x", "--data", "a=0.8", "--data", "b=0.2")["data"]["train"] == ("a=0.8", "b=0.2")


@pytest.mark.parametrize("words", [("--data", "a", "--data.train", "b"), ("--model", "tiny", "--model.size", "base")])
def test_saying_the_same_thing_twice_is_refused(words):
    with pytest.raises(ConfigError, match="give one of them"):
        given("--out", "x", *words)


def test_flags_win_over_the_recipe(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(dumps_toml({"model": {"size": "small", "depth": 3}, "train": {"steps": 5, "seed": 2}}))
    assert given(str(recipe), "--out", "x", "--model", "tiny", "--train.steps", "9") == {
        "model": {"size": "tiny"},
        "train": {"steps": 9, "seed": 2},
    }


def test_a_folder_of_photos_becomes_a_run(run, capsys):
    recipe = read_toml(run / "recipe.toml")
    assert (recipe["model"]["img_size"], recipe["model"]["patch_size"], recipe["model"]["depth"]) == ([16, 20], 4, 1)
    assert recipe["train"]["steps"] == 2
    assert (run / "report.html").exists()


def test_choices_and_next_commands_are_printed(photos, tmp_path, capsys):
    out = str(tmp_path / "run")
    main(["pretrain", "--data", str(photos), "--model", "nano", "--out", out, "--train.steps", "1", *SMALL])
    shown = capsys.readouterr().out
    assert "model.patch_size: 4 (" in shown
    assert f"nextpatch probe {out}" in shown
    assert f"nextpatch report {out}" in shown


def test_a_run_resumes_by_its_own_recipe_only(run, capsys):
    assert main(["pretrain", "--out", str(run), "--resume"]) == 0
    assert main(["pretrain", "--out", str(run), "--resume", "--train.steps", "2", "--model", "nano"]) == 0
    assert main(["pretrain", "--out", str(run), "--resume", "--optim.lr", "0.5"]) == 2
    assert "optim.lr" in capsys.readouterr().err


def test_an_existing_run_is_refused_without_resume(run, photos, capsys):
    assert main(["pretrain", "--data", str(photos), "--model", "nano", "--out", str(run), *SMALL]) == 2
    assert "--resume" in capsys.readouterr().err


def test_resuming_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main(["pretrain", "--out", str(tmp_path / "nothing"), "--resume"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("nextpatch: error: ")
    assert message.count("\n") == 1


def test_a_loss_that_exploded_is_one_line(monkeypatch, photos, tmp_path, capsys):
    def explode(*_, **__):
        raise BadStepError("step 7: loss nan")

    monkeypatch.setattr("nextpatch.tasks.pretrain.run.pretrain", explode)
    assert main(["pretrain", "--data", str(photos), "--model", "nano", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "nextpatch: error: step 7: loss nan\n"


def test_no_data_is_one_line(tmp_path, capsys):
    assert main(["pretrain", "--out", str(tmp_path / "run")]) == 2
    assert "no data given" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_begun_by_a_relative_path_goes_on_from_another_folder_after_both_have_moved(
    photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(photos.parent)
    words = ["pretrain", "--data", "photos", "--model", "nano", "--out", "run", "--train.steps", "2", *SMALL]
    assert main(words) == 0
    assert read_toml(tmp_path / "run" / "recipe.toml")["data"]["train"] == [str(photos)]
    (tmp_path / "run").rename(tmp_path / "moved-run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    photos.rename(elsewhere / "grown")
    monkeypatch.chdir(elsewhere)
    capsys.readouterr()
    assert main(["pretrain", "--out", "../moved-run", "--resume"]) == 2
    assert "If the images have moved" in capsys.readouterr().err
    assert main(["pretrain", "--out", "../moved-run", "--resume", "--data", "grown"]) == 0
    assert read_toml(tmp_path / "moved-run" / "recipe.toml")["data"]["train"] == [str(elsewhere / "grown")]
    page = (tmp_path / "moved-run" / "report.json").read_text()
    assert '"grown"' in page
    assert str(elsewhere) not in page
