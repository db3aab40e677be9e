"""Pictures as files: what is written, what repeats it, what is refused, and what stays of work that is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextpatch
from nextpatch.cli import main
from nextpatch.core.errors import ConfigError
from nextpatch.core.files import write_json
from nextpatch.runs.export import export_model
from nextpatch.runs.run import RunDir
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.sampler import Sampled, Sampler
from nextpatch.tasks.generate.config import SampleConfig
from nextpatch.tasks.generate.labels import class_numbers
from nextpatch.tasks.generate.pictures import sheet_of
from nextpatch.tasks.generate.request import read_request, request_of
from nextpatch.weights.error import WeightsError
from sampled import SIZE, generator_of, saved


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(generator_of(), tmp_path_factory.mktemp("runs") / "flow")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)).save(path)
    return path


def sample(*words: object) -> int:
    return main(["sample", *map(str, words), "--steps", "2", "--device", "cpu"])


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def test_pictures_a_sheet_and_settings_that_repeat_them(run: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    assert sample(run, "-n", 5, "--label", "2", "--label", "each", "--seed", 7, "--guidance", 1.5, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {*(f"00000{i}.png" for i in range(5)), "sheet.png", "settings.json"}
    assert main(["sample", "--from", str(out / "settings.json"), "--out", str(again), "--device", "cpu"]) == 0
    for path in out.glob("*.png"):
        assert path.read_bytes() == (again / path.name).read_bytes()
    told = json.loads((out / "settings.json").read_text())
    assert told["nextpatch"]
    assert told["settings"]["batch_size"] == 16, "the one that was chosen is written down"
    assert len(nextpatch.dataset(out)) == 5, "the pictures are a collection, without their sheet"
    made = nextpatch.sample(
        run, 2, first=3, label=["2", "each"], seed=7, guidance=1.5, steps=2, device="cpu", quiet=True
    )
    assert all((np.asarray(one) == other).all() for one, other in zip(made, pictures(out)[3:], strict=True))


def test_what_is_kept_comes_back_and_alternatives_differ(run: Path, photo: Path, tmp_path: Path) -> None:
    out, again, words = tmp_path / "out", tmp_path / "again", ["--steps", "2", "--device", "cpu"]
    assert main(["complete", str(run), str(photo), "--rows", "2", "-n", "3", "--out", str(out), *words]) == 0
    found, original = pictures(out), np.asarray(Image.open(photo))
    assert all((one[:4] == original[:4]).all() for one in found)
    assert len({one.tobytes() for one in found}) == 3
    assert main(["complete", "--from", str(out), "--out", str(again), "--device", "cpu"]) == 0
    assert (np.stack(pictures(again)) == np.stack(found)).all()
    in_memory = nextpatch.complete(run, Image.open(photo), 3, rows=2, steps=2, device="cpu", quiet=True)
    assert (np.stack([np.asarray(one) for one in in_memory]) == np.stack(found)).all()


def test_other_weights_and_another_image_are_not_taken_for_a_repetition(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(generator_of(order="any"), tmp_path / "other")
    words = ["complete", str(run), str(photo), "-n", "1", "--steps", "1", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    repeat = ["complete", "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    assert main([*repeat, str(other)]) == 2
    assert "is not the weights that the settings were written with" in capsys.readouterr().err
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "black.png")
    assert main([*repeat, str(run), str(tmp_path / "black.png")]) == 2
    assert "is not the image that" in capsys.readouterr().err
    assert main([*repeat, "--seed", "3"]) == 2
    assert "seed is among the settings that --from repeats" in capsys.readouterr().err
    assert main(["sample", "--from", str(tmp_path / "a")]) == 2
    assert "is of nextpatch complete; repeat it with that" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_class_is_asked_for_by_its_name_of_a_run_and_of_its_file(tmp_path: Path) -> None:
    named = saved(generator_of(), tmp_path / "named", ("cat", "dog", "eel"))
    exported = export_model(RunDir.open(named), tmp_path / "named.safetensors")
    by_number = [np.asarray(one) for one in nextpatch.sample(named, 2, label="1", steps=2, device="cpu", quiet=True)]
    for weights in (named, exported):
        made = nextpatch.sample(weights, 2, label="dog", steps=2, device="cpu", quiet=True)
        assert all((np.asarray(one) == other).all() for one, other in zip(made, by_number, strict=True))
    with pytest.raises(SamplingError, match="did you mean 'dog'"):
        nextpatch.sample(named, 1, label="dgo", steps=2, device="cpu", quiet=True)


def test_weights_that_would_run_code_are_not_taken_from_a_file(run: Path, tmp_path: Path) -> None:
    assert sample(run, "-n", 1, "--out", tmp_path / "out") == 0
    replace(read_request(tmp_path / "out"), weights="torchhub:./evil:entry").write(tmp_path / "out")
    with pytest.raises(WeightsError, match="nothing that runs code"):
        request_of(SampleConfig(settings=tmp_path / "out", out=tmp_path / "again"))


def test_files_of_others_are_not_replaced(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "000001.png")
    assert sample(run, "-n", 2, "--out", tmp_path) == 2
    assert "was not written by nextpatch" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["000001.png"]


def test_what_is_finished_stays_when_it_is_stopped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert sample(run, "-n", 6, "--batch-size", 4, "--out", whole) == 0
    batches = Sampler.sample

    def interrupted(*args: object) -> Iterator[Sampled]:
        yield next(batches(*args))
        raise KeyboardInterrupt

    monkeypatch.setattr(Sampler, "sample", interrupted)
    assert sample(run, "-n", 6, "--batch-size", 4, "--out", stopped) == 130
    assert f"pictures that were finished are in {stopped}" in capsys.readouterr().err
    assert (np.stack(pictures(stopped)) == np.stack(pictures(whole)[:4])).all()
    assert (stopped / "sheet.png").exists()
    assert (stopped / "settings.json").read_bytes() == (whole / "settings.json").read_bytes()


def test_rows_that_leave_nothing_are_refused(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["complete", str(run), str(photo), "--rows", "3", "--out", str(tmp_path / "o"), "--device", "cpu"]) == 2
    assert "rows 3 leaves nothing to complete: the model sees 3 rows of patches" in capsys.readouterr().err


def test_a_run_of_the_paper_says_why_not_and_what_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper = saved(generator_of("mlp", classes=0), tmp_path / "paper")
    assert sample(paper, "--out", tmp_path / "o") == 2
    said = capsys.readouterr().err
    assert "without each patch's mean and variance" in said
    assert "--model.head flow" in said
    assert not (tmp_path / "o").exists()


def test_a_model_that_sees_what_is_kept_too_late_warns(
    photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spiral = saved(generator_of(order="spiral"), tmp_path / "spiral")
    for weights, warned in ((spiral, True), (saved(generator_of(order="any"), tmp_path / "any"), False)):
        caplog.clear()
        nextpatch.complete(weights, photo, 1, rows=1, steps=1, device="cpu", quiet=True)
        assert ("before it sees all that is kept" in caplog.text) == warned


def test_classes_go_by_name_or_number_and_take_turns() -> None:
    names = ("cat", "dog", "1")
    assert class_numbers((), range(3), 3, names) is None
    assert class_numbers(("dog",), range(5, 8), 3, names) == [1, 1, 1]
    assert class_numbers(("cat", "dog"), range(5, 8), 3, names) == [1, 0, 1]
    assert class_numbers(("each",), range(5, 8), 3, names) == [2, 0, 1]
    assert class_numbers(("1", "2", "0"), range(3), 3, names) == [2, 2, 0], "a name before a number"
    for label, words in (("3", "there are 3, counted from 0"), ("dgo", "did you mean 'dog'"), ("-1", "no class '-1'")):
        with pytest.raises(SamplingError, match=words):
            class_numbers((label,), range(1), 3, names)
    with pytest.raises(SamplingError, match="names are not known"):
        class_numbers(("cat",), range(1), 3, ())


@pytest.mark.parametrize(("count", "size"), [(100, (10, 10)), (200, (20, 10)), (400, (20, 20)), (16, (4, 4))])
def test_classes_that_take_turns_stand_below_each_other_on_a_sheet_that_is_not_narrow(
    count: int, size: tuple[int, int]
) -> None:
    assert sheet_of([Image.new("L", (28, 28))] * count).size == (4 + 60 * size[0], 4 + 60 * size[1])


def test_a_sheet_shows_every_picture_in_its_place() -> None:
    shades = [Image.new("L", (9, 5), 10 * number) for number in range(10)]
    sheet = np.asarray(sheet_of(shades))
    assert [value for value in dict.fromkeys(sheet[..., 0].flatten().tolist()) if value != 251] == list(
        range(0, 100, 10)
    )


@pytest.mark.parametrize(
    ("name", "value"), [("count", 0), ("count", 10**9), ("first", -1), ("seed", 2**80), ("rows", -1)]
)
def test_settings_edited_by_hand_keep_to_the_bounds_of_the_flags(tmp_path: Path, name: str, value: int) -> None:
    request_of(SampleConfig(weights="run")).write(tmp_path)
    file = tmp_path / "settings.json"
    write_json(file, json.loads(file.read_text()) | {name: value})
    with pytest.raises(ConfigError, match=f"{name} .* must lie between"):
        read_request(file)
