"""`nextpatch probe` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextpatch.cli import main

FAST = ["--lrs", "1e-3", "--epochs", "2", "--batch-size", "16", "--device", "cpu", "--layers", "0", "2", "0,2"]


def test_it_measures_and_writes_the_page(
    run: Path, train: Path, test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(run), "--data", str(train), "--test", str(test), "--labels", "9", *FAST]) == 0
    shown = capsys.readouterr().out
    assert "Test accuracy in %" in shown
    assert "report.html" in shown
    values = json.loads((run / "probe.json").read_text())
    assert values["grid"]["layer_sets"] == {"0": ["block_0"], "2": ["block_2"], "0,2": ["block_0", "block_2"]}
    assert values["test"] == str(test)
    page = (run / "report.html").read_text()
    assert "What the features are worth" in page
    assert "data:image/png" in page
    mode = (run / "probe.safetensors").stat().st_mode
    assert mode & 0o044 == run.stat().st_mode & 0o044


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--labels", "5000"], "5,000 labels asked for"),
        (["--layers", "7"], "this model has blocks 0 to 2"),
        (["--step", "4"], "step"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    words: list[str], told: str, run: Path, train: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" in words else ["--data", str(train)]
    assert main(["probe", str(run), *data, *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("nextpatch: error:")
    assert not (run / "probe.json").exists()


def test_a_folder_that_is_no_run_says_so(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(train), "--data", str(train)]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["probe.json", "probe.html", "probe.safetensors"])
def test_somebodys_file_in_the_place_of_a_result_is_refused_before_work(
    run: Path, train: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"mine": 1}')
    assert main(["probe", str(run), "--data", str(train), "--out", str(out), *FAST]) == 2
    assert f"{name} exists and was not written by nextpatch" in capsys.readouterr().err
    assert (out / name).read_text() == '{"mine": 1}'
