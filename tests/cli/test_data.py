"""`nextpatch data` as a person meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextpatch.cli import main
from nextpatch.cli.data import VERBS
from nextpatch.data.sources.open import open_source


@pytest.fixture
def folder(tmp_path):
    """Two classes of six grey images, and one that is damaged."""
    for number in range(12):
        place = tmp_path / "images" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (tmp_path / "images" / "a" / "bad.png").write_bytes(b"nothing")
    return tmp_path / "images"


def run(*words):
    return main([str(word) for word in ("data", *words)])


def test_help_names_every_sub_verb(capsys):
    with pytest.raises(SystemExit) as left:
        run("--help")
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_no_sub_verb_shows_the_help_and_fails(capsys):
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 2
    assert "usage: nextpatch data VERB" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_sub_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        run(verb, "--help")
    assert left.value.code == 0
    assert f"nextpatch data {verb}" in capsys.readouterr().out


def test_a_misspelled_sub_verb_names_the_nearest(capsys):
    assert run("inspekt", "x") == 2
    assert capsys.readouterr().err == "nextpatch: error: unknown verb 'inspekt'; did you mean 'inspect'?\n"


@pytest.mark.parametrize("verb", ["inspect", "preview", "index", "verify"])
def test_data_that_is_not_there_is_one_line(verb, capsys):
    assert run(verb, "/nowhere/at/all") == 2
    error = capsys.readouterr().err
    assert error.startswith("nextpatch: error: ")
    assert error.count("\n") == 1


def test_inspect_tells_and_writes(folder, tmp_path, capsys):
    files = tmp_path / "found.json", tmp_path / "bad.jsonl"
    assert run("inspect", folder, "--json", files[0], "--bad", files[1], "--workers", 0) == 0
    told = capsys.readouterr().out
    assert "13" in told
    assert "Expect overfitting" in told
    found = json.loads(files[0].read_text())
    assert (found["images"], found["usable"], found["channels"]) == (13, 12, {"1": 12})
    assert found["seen"][0]["epochs"] > 100
    assert Path(json.loads(files[1].read_text())["key"]).name == "bad.png"


def test_a_recipe_says_how_often_images_are_seen(folder, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[model]\nimg_size=[16,16]\npatch_size=4\nin_chans=1\n[train]\nsteps=13\nglobal_batch_size=4\n")
    assert run("inspect", folder, "--recipe", recipe, "--workers", 0) == 0
    assert "13 steps of 4 images, by this recipe" in " ".join(capsys.readouterr().out.split())


def test_inspect_of_nothing_usable_still_tells(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"")
    assert run("inspect", tmp_path, "--workers", 0) == 0
    assert "unusable" in capsys.readouterr().out


def test_preview_draws_a_picture_and_a_page(folder, tmp_path, capsys):
    assert run("preview", folder, "--out", tmp_path / "new" / "look.png", "--images", 2) == 0
    with Image.open(tmp_path / "new" / "look.png") as picture:
        assert picture.width > 1000
    assert (tmp_path / "new" / "look.html").read_text().count("<section>") == 2
    assert "look.png" in capsys.readouterr().out


def test_preview_says_why_pictures_are_dark(tmp_path, capsys):
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 4096, (16, 16, 1), dtype=np.uint16)
        np.save(tmp_path / f"{number}.npy", values)
    assert run("preview", tmp_path, "--out", tmp_path.parent / "dark.png", "--images", 1) == 0
    assert "warning: uint16 values" in capsys.readouterr().out


def test_classes_of_a_part_are_said_to_be_of_that_part_and_one_file_size_is_said_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for number in range(4):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        np.save(tmp_path / "ab"[number % 2] / f"{number}.npy", np.full((16, 16, 3), number, np.uint8))
    assert run("inspect", tmp_path, "--limit", 3, "--workers", 0) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "(2), of the images looked at" in told
    assert "file size 896 B; 2.69 kB in all" in told
    assert run("inspect", tmp_path, "--workers", 0) == 0
    assert "looked at" not in capsys.readouterr().out


def test_preview_takes_a_run_for_its_recipe(folder, tmp_path):
    (tmp_path / "run").mkdir()
    text = '[model]\nsize="7b"\nimg_size=[16,16]\npatch_size=4\nin_chans=1\n[data]\ntrain=["/gone"]\nval="/gone"\n'
    (tmp_path / "run" / "recipe.toml").write_text(text)
    assert run("preview", folder, "--recipe", tmp_path / "run", "--out", tmp_path, "--images", 1) == 0
    assert "16 x 16 px, 4 x 4 patches of 4 px" in (tmp_path / "preview.html").read_text()


def test_pack_then_verify_then_damage(folder, tmp_path, capsys):
    out = tmp_path / "shards"
    assert run("pack", folder, "--out", out, "--samples-per-shard", 5, "--workers", 1) == 0
    told = capsys.readouterr().out
    assert "packed 12 images into 3 shards" in told
    assert "skipped 1" in told
    assert run("index", out) == 0
    assert "12 images in 3 shards" in capsys.readouterr().out
    assert run("verify", out) == 0
    shard = out / "00001.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    assert run("verify", out) == 1
    assert "00001.tar" in capsys.readouterr().out


def test_packed_shards_are_data_like_any_other(folder, tmp_path, capsys):
    assert run("pack", folder, "--out", tmp_path / "shards", "--workers", 0) == 0
    assert "packed 12 images into 1 shard (" in capsys.readouterr().out
    assert run("inspect", tmp_path / "shards", "--workers", 0) == 0
    assert "2 classes" in capsys.readouterr().out


NO_TORCH = """
import sys
from nextpatch.cli import main
try:
    main(["data", "pack", "--help"])
except SystemExit:
    sys.exit("torch" in sys.modules)
"""


def test_help_does_not_wait_for_torch():
    assert subprocess.run([sys.executable, "-c", NO_TORCH], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_no_output_goes_into_the_collection(folder, tmp_path, capsys, monkeypatch):
    """By default it lies beside it; where it was asked for there, that is refused; and a picture of ours is known."""
    monkeypatch.chdir(folder)
    assert run("preview", ".", "--images", 1) == 0
    made = folder.parent / f"{folder.name}-preview.png"
    assert f"picture:     {made}" in capsys.readouterr().out
    assert made.with_suffix(".html").exists()
    before = len(open_source(str(folder)))
    made.rename(folder / "preview.png")
    source = open_source(str(folder))
    assert len(source) == before
    assert "1 picture that nextpatch drew" in source.left_out
    for words in (["preview", ".", "--out", "look.png"], ["pack", folder, "--out", folder / "shards"]):
        assert run(*words) == 2
        assert "choose another --out" in capsys.readouterr().err


def test_inspect_says_once_what_is_left_out(tmp_path, capsys, caplog):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "b.png")
    (tmp_path / "c.mp4").write_bytes(b"film")
    assert main(["data", "inspect", str(tmp_path), "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert (said.out + said.err + caplog.text).count(".mp4") == 1


def test_no_output_replaces_somebodys_file(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(tmp_path / "in" / f"{number}.png")
    for name, text in (("notes.txt", "mine"), ("my.json", '{"mine": 1}'), ("look.html", "<!doctype html>mine")):
        (tmp_path / name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for flag in ("--bad", "--json"):
        for name in ("notes.txt", "my.json", "look.html"):
            assert run("inspect", tmp_path / "in", flag, tmp_path / name) == 2
            assert "is not replaced" in capsys.readouterr().err
        for name in ("0.png", "new.json"):
            assert run("inspect", tmp_path / "in", flag, tmp_path / "in" / name) == 2
            assert f"choose another {flag}" in capsys.readouterr().err
    assert run("preview", tmp_path / "in", "--out", tmp_path / "look.png") == 2  # whose page would replace one
    assert "look.html exists" in capsys.readouterr().err
    for ending in ("jpg", "webp", "png"):
        out = tmp_path / f"drawn.{ending}"
        for _ in range(2):  # ours is replaced
            assert run("preview", tmp_path / "in", "--out", out, "--images", 1) == 0
        Image.new("RGB", (8, 8)).save(out)
        assert run("preview", tmp_path / "in", "--out", out, "--images", 1) == 2
    assert {path: path.read_bytes() for path in before} == before


def test_findings_are_written_again_over_those_of_an_earlier_call(folder, tmp_path, capsys):
    files = tmp_path / "found.json", tmp_path / "bad.jsonl"
    for _ in range(2):
        assert run("inspect", folder, "--json", files[0], "--bad", files[1], "--workers", 0) == 0
    assert run("inspect", folder, "--json", files[0], "--bad", tmp_path / "x" / ".." / "found.json") == 2
    assert "--json and --bad both name" in capsys.readouterr().err
