"""Every cell of the page on Python is run, in order, in one program, and leaves what the page says."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import nextpatch
from nextpatch.measure import run_summary

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def cells() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def test_the_page_numbers_ten_things_and_names_every_function() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\*\*(\d+)\. ", text, re.M)] == list(range(1, 11))
    for name in nextpatch.__all__:
        assert f"nextpatch.{name}" in text or name in ("Backbone", "PretrainResult", "FinetuneResult"), (
            f"docs/python.md lacks {name}"
        )


@pytest.mark.slow
def test_the_cells_of_the_page_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    if find_spec("pandas") is None:  # no dependency of ours: its rows are what counts here
        monkeypatch.setattr(run_summary, "data_frame", list)
    found: dict[str, Any] = {}
    for cell in cells():
        exec(compile(cell, f"docs/python.md: {cell.splitlines()[0]}", "exec"), found)
    assert found["run"].steps == 40
    assert found["again"].steps == 20
    assert found["features"].array.shape == (200, 64)
    assert found["picture"].width > 900
    assert {score.features for score in found["probed"].results} == {"pre-trained", "random init", "raw pixels"}
    assert {"block_0", "block_3"} <= {score.layers for score in found["by_layer"].sweep}
    assert (tmp_path / "runs" / "tuned" / "model" / "model.safetensors").exists()
    assert found["page"].page.stat().st_size
    assert len(found["curve"])
